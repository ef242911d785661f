"""start: start the release's container beside the serving one."""

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
from jobs.steps.health_check import trouble_now

STEP = StepName.START


def start(work: Work, candidate: Candidate) -> Container:
    """Start the container; it gets no traffic yet.

    Raises:
        StartError: the container's command cannot be run.
        DockerError: the engine failed, or the container's name is taken.
    """
    work.ensure_held()
    if (warm := _warm(work, candidate)) is not None:
        return warm
    container = _start_kept(work) or _start_new(work, candidate)
    where = f"{container.ip}:{candidate.container.port}"
    work.say(STEP, f"container {container.id[:12]} started at {where}")
    return container


def _warm(work: Work, candidate: Candidate) -> Container | None:
    """Return the container of the release if it is warm and healthy: then nothing is started.

    It was made from this very release, so image, configuration and environment are as they were.
    And it has never stopped: its files hold what they would hold if it had stayed live.
    """
    warm = work.plan.warm
    if warm is None or warm.release_id != candidate.release_id:
        return None
    container = work.tools.engine.inspect(warm.container_id)
    where = f"the container {container.id[:12]} of v{candidate.number}"
    if container.state is not ContainerState.RUNNING:
        trouble = f"it {container}"
    else:
        trouble = trouble_now(work, container, candidate.container)
    if trouble:
        work.say(STEP, f"{where} was kept warm, but {trouble}; a new one is started")
        return None
    work.say(STEP, f"{where} is still warm: it serves again, without a start")
    return container


def _start_kept(work: Work) -> Container | None:
    """Start the container that was kept for a recovery, if it still exists.

    A rollback by a person gets a new container, unless the old one is still warm: the files of the
    kept one hold what it wrote to them, and what it left half-written when it was stopped.
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
    """Remove a container of this name that an earlier attempt at this deployment left behind.

    Raises:
        DockerError: Keystone did not make that container.
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
    """Describe how to make the container, from the immutable release alone."""
    wanted = candidate.container
    return ContainerSpec(
        name=container_name(plan.identity, plan.app, plan.deployment_id),
        image=candidate.image_id,
        network=network_name(plan.identity, plan.app),
        # Our labels come last, so that the app's labels can never override them.
        labels={**wanted.labels, **labels(plan.identity, plan.app, plan.deployment_id)},
        environment={**candidate.variables, "KEYSTONE_APP": SecretStr(plan.app)},
        settings=wanted,
        volumes=volumes(plan, wanted.volumes),
    )


def volumes(plan: Plan, wanted: tuple[str, ...]) -> dict[str, str]:
    """Map each container path to its volume, from `name:/path`; volumes outlive deployments."""
    pairs = (volume.split(":", 1) for volume in wanted)
    return {path: volume_name(plan.identity, plan.app, name) for name, path in pairs}
