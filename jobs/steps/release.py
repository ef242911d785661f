"""release: bind the image to the app's configuration of this moment, under a number of its own."""

from jobs.adapters.ports import Commit
from jobs.environment import seal_environment
from jobs.models import Release
from jobs.plan import Candidate, candidate
from jobs.records.deployments import record_release
from jobs.states import StepName
from jobs.steps.build import BuiltImage
from jobs.work import Work

STEP = StepName.RELEASE


def make_release(work: Work, commit: Commit, image: BuiltImage) -> Candidate:
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
            build=plan.build.model_dump(mode="json"),
            container=plan.container.model_dump(mode="json"),
            environment=seal_environment(plan.environment, work.vault),
        ),
    )
    work.say(STEP, f"release v{release.number}: image {image.tag}")
    return candidate(release, plan.environment)
