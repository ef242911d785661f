"""release: bind the image to the app's configuration of this moment, under a number of its own."""

from jobs.adapters.ports import Commit
from jobs.models import Release
from jobs.records.deployments import record_release
from jobs.states import StepName
from jobs.steps.build import BuiltImage
from jobs.work import Work

STEP = StepName.RELEASE


def make_release(work: Work, commit: Commit, image: BuiltImage) -> Release:
    """Write down the release; nothing in it ever changes again."""
    plan = work.plan
    release = work.record(
        record_release,
        Release(
            app_id=plan.app_id,
            number=0,
            deployment_id=plan.deployment_id,
            commit_sha=commit.sha,
            image=image.tag,
            image_id=image.id,
            configuration=plan.configuration,
            container=plan.container.to_json(),
        ),
    )
    work.say(STEP, f"release v{release.number}: image {image.tag}")
    return release
