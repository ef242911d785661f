"""Every setting of an app reaches what it is for; one that is dropped on the way is missed here."""

from typing import Any

import pytest

from jobs.adapters.docker import values
from jobs.records.pushes import rule_of
from jobs.rules.app_settings import DEFAULT_PORT, BuildSettings, ContainerSettings, PushRules
from jobs.states import Capabilities, DeployOn, Health, OnNewPush, Restart
from jobs.storage.models import Release
from tests.jobs.bench import Bench

# A value for each, other than the one it comes with.
CONTAINER: dict[str, Any] = {
    "health": Health.TCP,
    "health_path": "/up",
    "health_host": "app.example.com",
    "health_status": "200",
    "health_timeout_s": 17,
    "health_interval_s": 0.25,
    "health_successes": 2,
    "container_port": 8123,
    "memory_mb": 64,
    "cpus": 0.5,
    "pids": 77,
    "shm_size_mb": 32,
    "ulimits": ("nofile=1024:2048",),
    "restart": Restart.ON_FAILURE,
    "capabilities": Capabilities.NONE,
    "new_privileges": True,
    "init": False,
    "drain_timeout_s": 3,
    "stop_signal": "SIGINT",
    "stop_grace_s": 4,
    "command": ("/web", "--fast"),
    "volumes": ("data:/data",),
    "labels": {"team": "blue"},
    "gzip": True,
    "asset_paths": ("/assets/*",),
    "warm_minutes": 5,
}
BUILD: dict[str, Any] = {
    "context": "sub",
    "dockerfile": "Other",
    "build_target": "final",
    "build_timeout_s": 61,
    "build_args": ("MODE",),
    "build_secrets": ("KEY",),
}
PUSHES: dict[str, Any] = {
    "watch_paths": ("api/**",),
    "tag_pattern": "v*",
    "deploy_on": DeployOn.TAGS,
    "on_new_push": OnNewPush.REPLACE,
    "skip_phrases": ("not now",),
    "keep_releases": 2,
}
# What the engine is not told: the steps read these from the release, and the rest is part of the
# container's spec besides its settings.
OF_THE_STEPS = {
    "health",
    "health_path",
    "health_host",
    "health_status",
    "health_timeout_s",
    "health_interval_s",
    "health_successes",
    "restart",
    "drain_timeout_s",
    "stop_grace_s",
    "volumes",
    "labels",
    "gzip",  # of the router's configuration
    "asset_paths",
    "warm_minutes",
}


def test_this_test_covers_every_setting() -> None:
    assert CONTAINER.keys() == ContainerSettings.model_fields.keys()
    assert BUILD.keys() == BuildSettings.model_fields.keys()
    assert PUSHES.keys() == PushRules.model_fields.keys()
    for given, kind in (
        (CONTAINER, ContainerSettings),
        (BUILD, BuildSettings),
        (PUSHES, PushRules),
    ):
        usual = kind()
        assert not [name for name in given if getattr(usual, name) == given[name]]


@pytest.mark.parametrize("name", CONTAINER)
def test_each_setting_reaches_the_started_container(bench: Bench, name: str) -> None:
    app = bench.app(**{name: CONTAINER[name]})
    done = bench.deploy(app)
    with bench.reading() as session:
        release = session.get_one(Release, done.release_id)
    assert getattr(release.container, name) == CONTAINER[name]
    spec = bench.world.engine.all_containers[bench.container_of(done.id or 0)].spec
    assert getattr(spec.settings, name) == CONTAINER[name]
    # A release always says its port, which the image chooses or leaves to us.
    usual = ContainerSettings(container_port=DEFAULT_PORT).model_copy(
        update={name: CONTAINER[name]}
    )
    assert spec.settings == usual
    match name:
        case "volumes":
            assert list(spec.volumes) == ["/data"]
        case "labels":
            assert spec.labels["team"] == "blue"


@pytest.mark.parametrize("name", CONTAINER)
def test_each_setting_reaches_the_engine(bench: Bench, name: str) -> None:
    done = bench.deploy(bench.app())
    spec = bench.world.engine.all_containers[bench.container_of(done.id or 0)].spec
    other = type(spec)(
        **{**vars(spec), "settings": spec.settings.model_copy(update={name: CONTAINER[name]})}
    )
    is_told = values.create_options(spec) != values.create_options(other)
    assert is_told is (name not in OF_THE_STEPS)


@pytest.mark.parametrize("name", BUILD)
def test_each_build_setting_reaches_the_build(bench: Bench, name: str) -> None:
    app = bench.app(**{name: BUILD[name]})
    files = {
        "Dockerfile": "FROM scratch",
        "sub/Dockerfile": "FROM scratch",
        "Other": "FROM scratch",
    }
    done = bench.run(bench.ask(app, sha=bench.repository().commit(files)))
    with bench.reading() as session:
        release = session.get_one(Release, done.release_id)
    assert getattr(release.build, name) == BUILD[name]


@pytest.mark.parametrize("name", PUSHES)
def test_each_push_rule_decides_about_pushes(bench: Bench, name: str) -> None:
    app = bench.app(**{name: PUSHES[name]})
    assert getattr(rule_of(bench.fresh(app)).wanted, name) == PUSHES[name]
