"""start: run the release's container beside the one that serves."""

from pydantic import SecretStr

from jobs.adapters.ports import Container, ContainerSpec
from jobs.naming import container_name, labels, network_name, volume_name
from jobs.plan import Candidate, Plan
from jobs.states import StepName, Trigger
from jobs.work import Work

STEP = StepName.START


def start(work: Work, candidate: Candidate) -> Container:
    """Start the container; it takes no traffic yet.

    Raises:
        StartError: its command cannot be run.
        DockerError: the engine failed.
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
    engine.ensure_network(spec.network, labels(plan.identity, plan.app))
    return engine.start(spec)


def container_spec(plan: Plan, candidate: Candidate) -> ContainerSpec:
    """Say how the container is made: from the release alone, as it was when it was written."""
    wanted = candidate.container
    return ContainerSpec(
        name=container_name(plan.identity, plan.app, plan.deployment_id),
        image=candidate.image_id,
        network=network_name(plan.identity, plan.app),
        port=wanted.container_port,
        # Ours come last: a label of the app's own can never hide them.
        labels={**wanted.labels, **labels(plan.identity, plan.app, plan.deployment_id)},
        environment={**candidate.variables, "KEYSTONE_APP": SecretStr(plan.app)},
        command=wanted.command,
        memory_mb=wanted.memory_mb,
        cpus=wanted.cpus,
        pids=wanted.pids,
        capabilities=wanted.capabilities,
        new_privileges=wanted.new_privileges,
        init=wanted.init,
        stop_signal=wanted.stop_signal,
        volumes=volumes(plan, wanted.volumes),
    )


def volumes(plan: Plan, wanted: tuple[str, ...]) -> dict[str, str]:
    """Turn `name:/path` into what the engine mounts; a volume outlives every deployment."""
    pairs = (volume.split(":", 1) for volume in wanted)
    return {path: volume_name(plan.identity, plan.app, name) for name, path in pairs}
