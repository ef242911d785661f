"""What a deployment knows when it begins, and what names an image."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from pydantic import SecretStr

from jobs.deployment.plan import (
    LiveContainer,
    Plan,
    Recipe,
    read_plan,
)
from jobs.records.leases import take
from jobs.records.rollbacks import roll_back
from jobs.records.variables import set_variables
from jobs.rules.app_settings import BuildSettings, ContainerSettings
from jobs.rules.variables import Variable
from jobs.states import DeploymentState, Kind
from jobs.storage.environments import open_environment
from jobs.storage.models import App, Release
from tests.builders import change_settings
from tests.jobs.bench import TESTER, Bench

BUILD = BuildSettings(build_args=("VERSION",), build_secrets=("NPM_TOKEN",))
ENVIRONMENT = {
    "VERSION": Variable(SecretStr("1"), is_secret=False),
    "NPM_TOKEN": Variable(SecretStr("hunter2hunter2")),
    "MODE": Variable(SecretStr("fast"), is_secret=False),
}
RECIPE = Recipe(BUILD, ENVIRONMENT)

Change = Callable[[Recipe], Recipe]


def built_by(**fields: object) -> Change:
    return lambda recipe: replace(recipe, build=recipe.build.model_copy(update=fields))


def with_value(name: str, value: str, *, is_secret: bool = False) -> Change:
    variable = Variable(SecretStr(value), is_secret)
    return lambda recipe: replace(recipe, environment={**recipe.environment, name: variable})


class TestDigest:
    @pytest.mark.parametrize(
        "change",
        [
            built_by(dockerfile="Dockerfile.slim"),
            built_by(context="app"),
            built_by(build_target="test"),
            built_by(build_args=()),
            built_by(build_secrets=()),
            with_value("VERSION", "2"),
        ],
    )
    def test_it_changes_with_what_the_image_is_made_of(self, change: Change) -> None:
        assert change(RECIPE).digest != RECIPE.digest

    @pytest.mark.parametrize(
        "change",
        [
            built_by(build_timeout_s=7),
            with_value("MODE", "slow"),
            with_value("OTHER", "new"),
            with_value("VERSION", "1", is_secret=True),
            # An image holds nothing of a build secret: another token makes no other image.
            with_value("NPM_TOKEN", "another"),
        ],
    )
    def test_it_does_not_change_with_anything_else(self, change: Change) -> None:
        assert change(RECIPE).digest == RECIPE.digest

    def test_variables_that_stay_out_of_the_build_do_not_count(self) -> None:
        assert Recipe(BuildSettings(), {}).digest == Recipe(BuildSettings(), ENVIRONMENT).digest

    def test_it_tells_nothing_of_a_value(self) -> None:
        secret = with_value("VERSION", "hunter2hunter2")(RECIPE)
        assert "hunter2" not in secret.digest
        assert len(secret.digest) == 12


class TestRecipe:
    def test_only_the_named_variables_go_in(self) -> None:
        assert RECIPE.args == {"VERSION": SecretStr("1")}
        assert RECIPE.secrets == {"NPM_TOKEN": SecretStr("hunter2hunter2")}

    def test_one_that_is_not_set_is_left_out(self) -> None:
        recipe = Recipe(BUILD, {})
        assert (recipe.args, recipe.secrets) == ({}, {})


@pytest.mark.parametrize(
    ("text", "healthy", "unhealthy"),
    [("200", [200], [199, 201]), ("200-399", [200, 399], [199, 400]), ("404-404", [404], [200])],
)
def test_which_statuses_are_healthy(text: str, healthy: list[int], unhealthy: list[int]) -> None:
    statuses = ContainerSettings(container_port=80, health_status=text).healthy_statuses
    assert all(status in statuses for status in healthy)
    assert not any(status in statuses for status in unhealthy)


def test_every_setting_of_a_build_and_a_container_is_taken_from_the_app(bench: Bench) -> None:
    app = bench.app(
        dockerfile="Dockerfile.web",
        build_args=["A"],
        build_timeout_s=60,
        memory_mb=64,
        volumes=["data:/data"],
        labels={"team": "web"},
        command=["/web", "--fast"],
        restart="on-failure",
        new_privileges=True,
        init=False,
    )
    built, run = app.build, app.container
    assert (built.dockerfile, built.build_args, built.build_timeout_s) == (
        "Dockerfile.web",
        ("A",),
        60,
    )
    assert (run.memory_mb, run.volumes, run.command) == (64, ("data:/data",), ("/web", "--fast"))
    assert (run.labels, run.restart) == ({"team": "web"}, "on-failure")
    assert (run.new_privileges, run.init) == (True, False)
    assert BuildSettings.model_validate(built.model_dump(mode="json")) == built
    assert ContainerSettings.model_validate(run.model_dump(mode="json")) == run


class TestReading:
    @pytest.fixture
    def app(self, bench: Bench) -> App:
        return bench.app(memory_mb=64, build_args=["MODE"])

    def put(self, bench: Bench, app: App, value: str, **columns: object) -> None:
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            wanted = {"MODE": Variable(SecretStr(value))}
            set_variables(session, row, wanted, TESTER, vault=bench.runtime.vault)
            for name, value_ in columns.items():
                change_settings(row, **{name: value_})

    def plan(self, bench: Bench, app: App, deployment_id: int) -> Plan:
        with bench.writing() as session:
            held = take(session, app.id or 0, deployment_id, "worker:1")
        with bench.reading() as session:
            return read_plan(session, bench.runtime, held)

    def test_the_first_has_nothing_to_retire(self, bench: Bench, app: App) -> None:
        plan = self.plan(bench, app, bench.push(app))
        assert (plan.live, plan.earlier, plan.kind) == (None, None, Kind.INITIAL)
        assert plan.free_slot == "a"
        assert plan.remote.url == "https://github.com/octo/web.git"

    def test_the_next_one_takes_the_other_slot(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        plan = self.plan(bench, app, bench.push(app))
        assert plan.live is not None
        assert (plan.live.slot, plan.free_slot) == ("a", "b")

    def test_the_old_container_is_given_the_time_its_own_release_says(
        self, bench: Bench, app: App
    ) -> None:
        self.put(bench, app, "x", stop_grace_s=3, drain_timeout_s=4)
        bench.deploy(app)
        self.put(bench, app, "x", stop_grace_s=99, drain_timeout_s=100)
        plan = self.plan(bench, app, bench.push(app))
        assert isinstance(plan.live, LiveContainer)
        assert (plan.live.settings.stop_grace_s, plan.container.stop_grace_s) == (3, 99)
        assert (plan.live.settings.drain_timeout_s, plan.container.drain_timeout_s) == (4, 100)

    def test_a_rollback_brings_its_own_configuration_and_variables(
        self, bench: Bench, app: App
    ) -> None:
        self.put(bench, app, "first")
        first = bench.deploy(app)
        self.put(bench, app, "second", memory_mb=99, dockerfile="Dockerfile.new")
        bench.world.source.repositories["https://github.com/octo/web.git"].commit(
            {"Dockerfile.new": "FROM scratch"}
        )
        done = bench.run(bench.ask(app))
        assert done.state is DeploymentState.SUCCESS, done.reason
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            asked = roll_back(session, row, None, TESTER).id or 0
        plan = self.plan(bench, app, asked)
        assert plan.earlier is not None
        assert plan.earlier.candidate.release_id == first.release_id
        assert plan.earlier.candidate.container.memory_mb == 64
        assert plan.recipe.build.dockerfile == "Dockerfile"
        assert plan.recipe.args == {"MODE": SecretStr("first")}
        # Both are masked in the log: the app as it is now may quote either.
        masked = {variable.value.get_secret_value() for variable in plan.variables}
        assert masked == {"first", "second"}

    def test_a_release_keeps_its_environment_sealed_whatever_becomes_of_the_apps(
        self, bench: Bench, app: App
    ) -> None:
        self.put(bench, app, "hunter2hunter2")
        done = bench.deploy(app)
        with bench.reading() as session:
            before = session.get_one(Release, done.release_id).environment
        self.put(bench, app, "another")
        bench.deploy(app)
        with bench.reading() as session:
            kept = session.get_one(Release, done.release_id).environment
        assert kept == before
        assert b"hunter2" not in kept
        opened = open_environment(kept, bench.runtime.vault)
        assert opened["MODE"].value.get_secret_value() == "hunter2hunter2"


def test_a_container_gets_its_release_number_and_no_variable_overrides_it(bench: Bench) -> None:
    app = bench.app()
    done = bench.deploy(app)
    spec = bench.world.engine.all_containers[bench.container_of(done.id or 0)].spec
    told = {name: value.get_secret_value() for name, value in spec.environment.items()}
    assert told == {
        "KEYSTONE_APP": "web",
        "KEYSTONE_COMMIT": done.commit_sha,
        "KEYSTONE_RELEASE": "v1",
    }
