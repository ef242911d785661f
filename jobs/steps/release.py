"""release: bind the image to the app's current configuration, under a new release number."""

from collections.abc import Sequence

from sqlmodel import Session

from jobs.deployment.plan import Candidate, candidate
from jobs.deployment.work import Work
from jobs.errors import DeploymentError
from jobs.records.deployments import HeldLease, record_release
from jobs.records.engine_items import note_image
from jobs.rules.app_settings import DEFAULT_PORT, ContainerSettings
from jobs.rules.naming import shown_tag
from jobs.rules.repository_values import Commit
from jobs.states import Health, StepName
from jobs.steps.build import BuiltImage
from jobs.storage.environments import seal_environment
from jobs.storage.models import Release

STEP = StepName.RELEASE
MOST_PORTS_TOLD = 5


def make_release(work: Work, commit: Commit, image: BuiltImage) -> Candidate:
    """Record the release; it is immutable from then on.

    Raises:
        DeploymentError: the image EXPOSEs several ports, and the app sets none.
        DockerError: the engine failed.
    """
    plan = work.plan
    release = work.record(
        _record,
        Release(
            app_id=plan.app_id,
            number=0,
            deployment_id=plan.deployment_id,
            commit_sha=commit.sha,
            image=image.tag,
            image_id=image.id,
            configuration=plan.configuration,
            build=plan.build,
            container=with_port(work, image.id),
            environment=seal_environment(plan.environment, work.vault),
        ),
        plan.app,
    )
    work.say(STEP, f"release v{release.number}: image {shown_tag(image.tag)}")
    return candidate(release, plan.environment)


def with_port(work: Work, image_id: str) -> ContainerSettings:
    """Give the app's container settings with the port inside, which its image may choose.

    The release keeps that port, so that a rollback does not depend on a later version's choice.

    Raises:
        DeploymentError: the image EXPOSEs several ports, and the app sets none.
        DockerError: the engine failed.
    """
    wanted = work.plan.container
    if wanted.container_port is not None:
        return wanted
    exposed = work.tools.engine.exposed_ports(image_id)
    port = chosen_port(exposed)
    if port is None and wanted.health is not Health.NONE:
        listed = ", ".join(map(str, exposed[:MOST_PORTS_TOLD]))
        listed += ", …" if len(exposed) > MOST_PORTS_TOLD else ""
        raise DeploymentError(
            f"the image EXPOSEs the ports {listed}; choose the one that serves: "
            f"`keystone app set {work.plan.app} --container-port {exposed[0]}`"
        )
    port = port or DEFAULT_PORT
    why = "the image EXPOSEs it" if port in exposed else "the app and its image name no other"
    work.say(STEP, f"the container's port is {port}: {why}")
    return wanted.model_copy(update={"container_port": port})


def chosen_port(exposed: Sequence[int]) -> int | None:
    """Choose the port of an app that sets none, by its image's; None: it may be any of several."""
    if len(exposed) == 1:
        return exposed[0]
    return DEFAULT_PORT if not exposed or DEFAULT_PORT in exposed else None


def _record(session: Session, held: HeldLease, release: Release, app: str) -> Release:
    note_image(session, app, release.image_id)
    return record_release(session, held, release)
