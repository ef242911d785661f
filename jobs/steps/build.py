"""build: build the image of the commit, unless it exists already."""

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.adapters.buildkit.failures import MAKE_ROOM, NO_SPACE
from jobs.adapters.ports import Tree
from jobs.deployment.plan import Plan
from jobs.deployment.work import StepRecord, Work
from jobs.errors import BuildError, DockerError
from jobs.rules.container_values import BuildSpec
from jobs.rules.log_events import BuildEvent
from jobs.rules.log_lines import LastLines
from jobs.rules.naming import COMMIT_LABEL, image_repository, image_tag, labels
from jobs.rules.repository_values import Commit
from jobs.states import StepName
from jobs.steps.left_out import left_out, left_out_is_told

STEP = StepName.BUILD
MIB = 1024 * 1024
AS_GOOD_AS_FULL = 16 * MIB
LAST_LINES = 40  # of a failed build's log: tools print more lines after the one with the cause


@dataclass(frozen=True)
class BuiltImage:
    """An image on the engine: the tag that keeps it, and its id."""

    tag: str
    id: str


def build(work: Work, commit: Commit, record: StepRecord) -> BuiltImage:
    """Return the image of a commit, building it if needed.

    Raises:
        BuildError: the Dockerfile is missing or wrong, a command failed, or it took too long.
        DockerError: the engine failed, or its disk is full.
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
        return BuiltImage(spec.tag, _built(work, spec, tree))


def _built(work: Work, spec: BuildSpec, tree: Tree) -> str:
    engine = work.tools.engine
    last = LastLines(LAST_LINES)

    def log(event: BuildEvent) -> None:
        last.add(event.shown)
        work.say(STEP, event)

    for note in left_out(tree):
        work.say(STEP, f"warning: {note}")
    try:
        with left_out_is_told(tree):
            return engine.build(spec, tree, log=log, stop=work.stop)
    except BuildError as failure:
        ensure_room(failure, last, engine.free_disk(), work.plan.min_free_disk)
        raise


def ensure_room(failure: BuildError, last: Iterable[str], free: int | None, floor: int) -> None:
    """Turn a build failure into a `DockerError` if the cause was a full disk, not the app.

    A command that finds the disk full only says so in its output. By then the engine has deleted
    what the command wrote, so the free space alone does not show the cause.

    Args:
        failure: the build's error.
        last: the last lines of its log.
        free: the bytes that are free on the engine's disk now; None is unknown.
        floor: the bytes that must be free to begin a build.

    Raises:
        DockerError: the disk was full, or is nearly full now.
    """
    if any(NO_SPACE in line.lower() for line in last):
        raise DockerError(
            f"{failure}, as the Docker Engine's disk is full; {MAKE_ROOM}"
        ) from failure
    if free is not None and free < max(floor, AS_GOOD_AS_FULL):
        told = f"only {free // MIB} MB are left on Docker's disk"
        raise DockerError(f"{failure}, and {told}; {MAKE_ROOM}") from failure


def ensure_disk(free: int | None, floor: int) -> None:
    """Refuse to begin a build on a disk with too little space; both in bytes, None is unknown.

    Raises:
        DockerError: less than the floor is free.
    """
    if free is not None and free < floor:
        raise DockerError(
            f"only {free // MIB} MB are free on Docker's disk, and a build needs {floor // MIB}; "
            "free some, or lower KEYSTONE_MIN_FREE_DISK_MB"
        )


def build_spec(plan: Plan, commit: Commit) -> BuildSpec:
    """Describe how to build the image; the same commit and recipe always give the same tag."""
    repository = image_repository(plan.identity, plan.app)
    recipe = plan.recipe
    return BuildSpec(
        tag=image_tag(repository, commit.sha, recipe.digest, plan.image_key),
        dockerfile=recipe.build.dockerfile,
        folder=recipe.build.context,
        labels={**labels(plan.identity, plan.app), COMMIT_LABEL: commit.sha},
        # By the app's id, not its name: another app may get that name when this one is removed.
        cache_key=f"keystone-{plan.identity}-{plan.app_id}",
        target=recipe.build.build_target,
        args=recipe.args,
        offered={
            "KEYSTONE_APP": plan.app,
            "KEYSTONE_COMMIT": commit.sha,
            # The name that Docker Hub and other platforms use.
            "SOURCE_COMMIT": commit.sha,
        },
        frontend=plan.frontend,
        secrets=recipe.secrets,
        deadline_s=recipe.build.build_timeout_s,
        limits=plan.bounds.limits,
        cgroup=plan.bounds.group,
        is_shared_cgroup=plan.bounds.is_shared,
    )
