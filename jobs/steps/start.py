"""start: run the release's container beside the one that serves."""

from functools import partial

from pydantic import SecretStr
from sqlmodel import Session

from jobs.deployment.plan import Candidate, Plan
from jobs.deployment.work import Work
from jobs.errors import DockerError
from jobs.records.deployments import HeldLease, ensure_lease
from jobs.records.engine_items import note_made, note_making, on_record
from jobs.rules.container_values import Container, ContainerSpec
from jobs.rules.naming import container_name, labels, network_name, volume_name
from jobs.states import ContainerState, StepName, Trigger

STEP = StepName.START


def start(work: Work, candidate: Candidate) -> Container:
    """Start the container; it takes no traffic yet.

    Raises:
        StartError: its command cannot be run.
        DockerError: the engine failed, or the container's name is taken.
    """
    work.ensure_held()
    container = _start_kept(work) or _start_new(work, candidate)
    where = f"{container.ip}:{candidate.container.container_port}"
    work.say(STEP, f"container {container.id[:12]} started at {where}")
    return container


def _start_kept(work: Work) -> Container | None:
    """Start the container that was kept for a recovery, if it is still there.

    A person who rolls back gets a new one: this one's files hold what it has written to them.
    """
    if work.plan.trigger is not Trigger.RECOVERY or work.plan.fallback is None:
        return None
    return work.tools.engine.start_again(work.plan.fallback)


def _start_new(work: Work, candidate: Candidate) -> Container:
    plan, engine = work.plan, work.tools.engine
    spec = container_spec(plan, candidate)
    _make_way(work, spec.name)
    work.record(_note_making, plan, spec.name)
    engine.ensure_network(spec.network, labels(plan.identity, plan.app))
    container = engine.start(spec)
    work.pending.append(partial(note_made, container=container))
    return container


def _make_way(work: Work, name: str) -> None:
    """Remove what an earlier attempt at this deployment has left under the container's name.

    Raises:
        DockerError: it is somebody else's.
    """
    engine = work.tools.engine
    found = engine.inspect(name)
    if found.state is ContainerState.MISSING:
        return
    with work.database.reading() as session:
        ours = on_record(session, [found])
    if not ours:
        raise DockerError(
            f"there is a container {name} that Keystone did not make; "
            "rename or remove it, then deploy again"
        )
    engine.stop(found.id, grace_s=0)


def _note_making(session: Session, held: HeldLease, plan: Plan, name: str) -> None:
    ensure_lease(session, held)
    note_making(session, plan.identity, plan.app, name)


def container_spec(plan: Plan, candidate: Candidate) -> ContainerSpec:
    """Say how the container is made: from the release alone, as it was when it was written."""
    wanted = candidate.container
    return ContainerSpec(
        name=container_name(plan.identity, plan.app, plan.deployment_id),
        image=candidate.image_id,
        network=network_name(plan.identity, plan.app),
        # Ours come last: a label of the app's own can never hide them.
        labels={**wanted.labels, **labels(plan.identity, plan.app, plan.deployment_id)},
        environment={**candidate.variables, "KEYSTONE_APP": SecretStr(plan.app)},
        settings=wanted,
        volumes=volumes(plan, wanted.volumes),
    )


def volumes(plan: Plan, wanted: tuple[str, ...]) -> dict[str, str]:
    """Turn `name:/path` into what the engine mounts; a volume outlives every deployment."""
    pairs = (volume.split(":", 1) for volume in wanted)
    return {path: volume_name(plan.identity, plan.app, name) for name, path in pairs}
