"""start: a container made of the release alone, beside the one that serves."""

import pytest

from jobs.rules.container_values import ContainerSpec
from jobs.storage.models import App
from tests.jobs.bench import Bench


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(
        container_port=9000, memory_mb=64, cpus=0.5, command=["/web", "x"], labels={"team": "a"}
    )


@pytest.fixture
def spec(bench: Bench, app: App) -> ContainerSpec:
    done = bench.deploy(app)
    return bench.world.engine.all_containers[bench.container_of(done.id or 0)].spec


def test_the_container_has_the_apps_configuration(bench: Bench, spec: ContainerSpec) -> None:
    made = spec.settings
    assert (made.container_port, made.memory_mb, made.cpus) == (9000, 64, 0.5)
    assert made.command == ("/web", "x")
    assert spec.name == f"keystone-{bench.runtime.identity}-web-1"
    assert spec.network == f"keystone-{bench.runtime.identity}-web"
    assert spec.image.startswith("sha256:")


def test_the_container_gets_its_app_commit_and_release(bench: Bench, spec: ContainerSpec) -> None:
    told = {name: value.get_secret_value() for name, value in spec.environment.items()}
    commit = bench.deployment(1).commit_sha
    assert told == {
        "KEYSTONE_APP": "web",
        "KEYSTONE_COMMIT": commit,
        "KEYSTONE_RELEASE": "v1",
    }


def test_our_labels_cannot_be_hidden_by_the_apps_own(bench: Bench, spec: ContainerSpec) -> None:
    assert spec.labels == {
        "team": "a",
        "keystone.identity": bench.runtime.identity,
        "keystone.app": "web",
        "keystone.deployment": "1",
    }


def test_the_old_container_serves_during_the_start(bench: Bench, app: App) -> None:
    bench.deploy(app)
    old, serving = bench.serving(app), []
    second = bench.push(app)
    bench.world.engine.on("start", lambda _: serving.append(bench.serving(app)))
    bench.run(second)
    assert serving == [old]
    assert old is not None
