"""release: bind the image to the app's current configuration, under a new release number."""

from sqlmodel import Session

from jobs.deployment.plan import Candidate, candidate
from jobs.deployment.work import Work
from jobs.records.deployments import HeldLease, record_release
from jobs.records.engine_items import note_image
from jobs.rules.naming import shown_tag
from jobs.rules.repository_values import Commit
from jobs.states import StepName
from jobs.steps.build import BuiltImage
from jobs.storage.environments import seal_environment
from jobs.storage.models import Release

STEP = StepName.RELEASE


def make_release(work: Work, commit: Commit, image: BuiltImage) -> Candidate:
    """Record the release; it is immutable from then on."""
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
            container=plan.container,
            environment=seal_environment(plan.environment, work.vault),
        ),
        plan.app,
    )
    work.say(STEP, f"release v{release.number}: image {shown_tag(image.tag)}")
    return candidate(release, plan.environment)


def _record(session: Session, held: HeldLease, release: Release, app: str) -> Release:
    note_image(session, app, release.image_id)
    return record_release(session, held, release)
