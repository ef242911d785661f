"""build: make the image of the commit, unless it is there already."""

from dataclasses import dataclass

from jobs.adapters.ports import BuildSpec, Commit
from jobs.errors import DockerError
from jobs.naming import COMMIT_LABEL, image_repository, labels
from jobs.plan import Plan
from jobs.states import StepName
from jobs.work import StepRecord, Work

STEP = StepName.BUILD
MIB = 1024 * 1024


@dataclass(frozen=True)
class BuiltImage:
    """An image on the engine: the tag that keeps it, and what the engine calls it."""

    tag: str
    id: str


def build(work: Work, commit: Commit, record: StepRecord) -> BuiltImage:
    """Give the image of a commit.

    Raises:
        BuildError: the Dockerfile is missing or wrong, a command failed, or it took too long.
        DockerError: the engine failed.
    """
    spec = build_spec(work.plan, commit)
    engine = work.tools.engine
    if (image_id := engine.image_id(spec.tag)) is not None:
        record.skip("the image of this commit is there already")
        work.say(STEP, record.reason)
        return BuiltImage(spec.tag, image_id)
    ensure_disk(engine.free_disk(), work.plan.min_free_disk)
    folder = work.plan.recipe.build.context
    with work.tools.source.tree(work.plan.remote, commit.sha, folder=folder) as tree:
        image_id = engine.build(spec, tree, log=lambda line: work.say(STEP, line), stop=work.stop)
    return BuiltImage(spec.tag, image_id)


def ensure_disk(free: int | None, floor: int) -> None:
    """Refuse to begin a build that would fill the disk; both in bytes, None is unknown.

    Raises:
        DockerError: less is free than the floor.
    """
    if free is not None and free < floor:
        raise DockerError(
            f"only {free // MIB} MB are free on Docker's disk, and a build needs {floor // MIB}; "
            "free some, or lower KEYSTONE_MIN_FREE_DISK_MB"
        )


def build_spec(plan: Plan, commit: Commit) -> BuildSpec:
    """Say how the image is made; the same commit and recipe always give the same tag."""
    repository = image_repository(plan.identity, plan.app)
    recipe = plan.recipe
    return BuildSpec(
        tag=f"{repository}:{commit.sha[:12]}-{recipe.digest}",
        dockerfile=recipe.build.dockerfile,
        labels={**labels(plan.identity, plan.app), COMMIT_LABEL: commit.sha},
        cache_key=repository,
        target=recipe.build.build_target,
        args=recipe.args,
        secrets=recipe.secrets,
        deadline_s=recipe.build.build_timeout_s,
    )
