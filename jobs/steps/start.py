"""start: run the release's container beside the one that serves."""

from jobs.adapters.ports import Container, ContainerSpec
from jobs.models import Release
from jobs.naming import container_name, labels, network_name
from jobs.states import StepName
from jobs.work import ContainerSettings, Plan, Work, container_environment

STEP = StepName.START


def start(work: Work, release: Release) -> Container:
    """Start the container; it takes no traffic yet.

    Raises:
        StartError: its command cannot be run.
        DockerError: the engine failed.
    """
    work.ensure_held()
    plan, engine = work.plan, work.tools.engine
    spec = container_spec(plan, release)
    engine.ensure_network(spec.network, labels(plan.identity, plan.app))
    container = engine.start(spec)
    work.say(STEP, f"container {container.id[:12]} started at {container.ip}:{spec.port}")
    return container


def container_spec(plan: Plan, release: Release) -> ContainerSpec:
    """Say how the container is made: from the release alone, as it was when it was written."""
    wanted = settings_of(release)
    return ContainerSpec(
        name=container_name(plan.identity, plan.app, plan.deployment_id),
        image=release.image_id,
        network=network_name(plan.identity, plan.app),
        port=wanted.port,
        labels=labels(plan.identity, plan.app, plan.deployment_id),
        environment=container_environment(plan, release.commit_sha, release.number),
        command=wanted.command,
        memory_mb=wanted.memory_mb,
        cpus=wanted.cpus,
    )


def settings_of(release: Release) -> ContainerSettings:
    """Read a release's own container settings back."""
    found = dict(release.container)
    command = found.pop("command", None)
    return ContainerSettings(**found, command=tuple(command) if command else None)
