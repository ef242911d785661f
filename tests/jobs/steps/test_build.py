"""build: one image a commit and recipe, made once."""

import pytest

from jobs.errors import DockerError
from jobs.rules.naming import COMMIT_LABEL
from jobs.states import DeploymentState, StepName, StepState
from jobs.steps.build import MIB, ensure_disk
from jobs.storage.models import App, Release
from tests.builders import change_settings
from tests.jobs.bench import FILES, Bench, push_of


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def test_the_image_has_labels_with_its_app_and_commit(bench: Bench, app: App) -> None:
    done = bench.deploy(app)
    (image,) = bench.world.engine.images()
    assert image.labels["keystone.app"] == "web"
    assert image.labels["keystone.identity"] == bench.runtime.identity
    assert image.labels[COMMIT_LABEL] == done.commit_sha
    (tag,) = image.tags
    assert tag.startswith(f"keystone-{bench.runtime.identity}/web/")
    assert f":{done.commit_sha[:12]}-" in tag


@pytest.mark.parametrize(
    ("field", "value"), [("dockerfile", "Other"), ("context", "sub"), ("build_target", "final")]
)
def test_another_recipe_is_another_image(bench: Bench, app: App, field: str, value: str) -> None:
    files = {**FILES, "Other": "FROM scratch", "sub/Dockerfile": "FROM scratch"}
    sha = bench.repository().commit(files)
    bench.run(bench.deliver(push_of(bench, sha)).deployments[0][0].id or 0)
    with bench.writing() as session:
        change_settings(session.get_one(App, app.id), **{field: value})
    again = bench.run(bench.ask(app, sha=sha))
    assert bench.steps(again.id or 0)[StepName.BUILD] is StepState.SUCCESS
    tags = {call.split()[1] for call in bench.world.calls("build")}
    assert len(tags) == 2


def test_a_setting_of_the_container_alone_builds_nothing(bench: Bench, app: App) -> None:
    done = bench.deploy(app)
    with bench.writing() as session:
        change_settings(session.get_one(App, app.id), memory_mb=99)
    again = bench.run(bench.ask(app, sha=done.commit_sha))
    assert bench.steps(again.id or 0)[StepName.BUILD] is StepState.SKIPPED


def test_only_the_context_is_handed_over(bench: Bench) -> None:
    app = bench.app(context="sub")
    sha = bench.repository().commit({"Dockerfile": "x", "sub/Dockerfile": "FROM scratch"})
    done = bench.run(bench.deliver(push_of(bench, sha)).deployments[0][0].id or 0)
    assert done.state is DeploymentState.SUCCESS
    assert app.build.context == "sub"
    assert bench.world.calls("tree") == ["tree sub"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"dockerfile": "None"}, "has no None"), ({"context": "none"}, "no folder none")],
)
def test_what_the_commit_does_not_have(bench: Bench, fields: dict[str, str], reason: str) -> None:
    done = bench.run(bench.push(bench.app(**fields)))
    assert done.state is DeploymentState.FAILURE
    assert reason in done.reason


def test_a_disk_that_is_nearly_full_is_not_filled(bench: Bench, app: App) -> None:
    bench.world.engine.free_bytes = 1
    done = bench.run(bench.push(app))
    assert done.state is DeploymentState.ERROR
    assert "KEYSTONE_MIN_FREE_DISK_MB" in done.reason
    assert bench.world.calls("build") == []


@pytest.mark.parametrize("free", [None, 10 * MIB, 11 * MIB])
def test_a_disk_with_enough_space_is_used(free: int | None) -> None:
    ensure_disk(free, 10 * MIB)
    with pytest.raises(DockerError, match="only 9 MB are free"):
        ensure_disk(10 * MIB - 1, 10 * MIB)


def test_the_release_names_the_image_by_its_id(bench: Bench, app: App) -> None:
    done = bench.deploy(app)
    with bench.reading() as session:
        release = session.get_one(Release, done.release_id)
    (image,) = bench.world.engine.images()
    assert (release.image, release.image_id) == (image.tags[0], image.id)
