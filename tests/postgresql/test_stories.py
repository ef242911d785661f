"""What Keystone does, told on PostgreSQL: one long story, and some that are told of SQLite too."""

import pytest
from pydantic import SecretStr
from sqlmodel import select

from jobs.processes.rotation import rotate
from jobs.processes.runtime import open_runtime
from jobs.reads.apps import app_view
from jobs.records.apps import remove_app
from jobs.records.catch_up import take_turn
from jobs.records.rollbacks import roll_back
from jobs.records.vault_keys import count_by_key
from jobs.states import DeploymentState, StepName
from jobs.storage.models import App, AuditEvent, CatchUp, Deployment, Repository, Step, now
from jobs.storage.vault import fingerprint
from tests.conftest import SECRET_KEY
from tests.jobs.bench import TESTER, Bench, kill
from tests.jobs.duties.catch_up.test_duty import TEN
from tests.jobs.records.test_deliveries import (  # noqa: F401 — run here, with our fixtures
    TestClaiming,
    push,
)
from tests.jobs.records.test_hostile_words import (  # noqa: F401
    test_a_deployment_ends_and_github_hears_of_it,
    test_a_deployment_with_a_hostile_error_from_outside_ends_too,
)

NEW_KEY = SecretStr("the key that takes its place")


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(token="ghp_own")


def test_the_whole_story(bench: Bench) -> None:
    app = bench.app(
        token="ghp_secretsecretsecret", domains=["www.example.com"], labels={"team": "blue"}
    )

    first = bench.deploy(app)
    second = bench.deploy(app)
    assert bench.serving(app) == bench.container_of(second.id or 0)
    assert list(bench.steps(second.id or 0)) == list(StepName)

    killed = bench.push(app)
    bench.world.router.on("switch", kill)
    bench.run_and_die(killed)
    bench.reconcile()
    assert bench.deployment(killed).state is DeploymentState.ERROR
    assert bench.serving(app) == bench.container_of(second.id or 0)

    repeated = bench.push(app)
    bench.world.engine.on("build", kill)
    bench.run_and_die(repeated)
    bench.reconcile()
    assert bench.run(repeated).state is DeploymentState.SUCCESS

    waiting = bench.push(app)
    bench.cancel(waiting)
    assert bench.deployment(waiting).state is DeploymentState.CANCELLED

    with bench.writing() as session:
        back = roll_back(session, session.get_one(App, app.id), 1, TESTER).id or 0
    assert bench.run(back).release_id == first.release_id
    assert bench.serving(app) == bench.container_of(back)
    assert bench.leases() == []
    with bench.reading() as session:
        view = app_view(session, "web", bench.runtime.settings)
    assert (view.live_deployment, view.live_release, view.auto_deploy) == (back, 1, False)
    assert bench.states(app) == ["success", "success", "error", "success", "cancelled", "success"]


def test_a_removed_app_takes_its_history_with_it_and_leaves_the_audit_trail(
    bench: Bench, app: App
) -> None:
    bench.deploy(app)
    with bench.reading() as session:
        before = len(session.exec(select(AuditEvent)).all())
    with bench.writing() as session:
        remove_app(session, session.get_one(App, app.id), TESTER)
    bench.reconcile()
    with bench.reading() as session:
        assert session.exec(select(Deployment)).all() == []
        assert session.exec(select(Step)).all() == []
        assert session.exec(select(Repository)).all() == []
        # Of the app and of its repository, whose last it was.
        assert len(session.exec(select(AuditEvent)).all()) == before + 2
    assert bench.world.engine.containers() == []
    assert bench.world.source.mirrored == set()


def test_the_id_of_what_was_removed_is_never_given_again(bench: Bench, app: App) -> None:
    first = bench.ask(app)
    bench.cancel(first)
    with bench.writing() as session:
        remove_app(session, session.get_one(App, app.id), TESTER)
    assert bench.ask(bench.app()) > first


def test_a_repository_that_was_never_looked_at_is_the_first_to_be(bench: Bench) -> None:
    bench.app("web", repository="octo/web")
    with bench.writing() as session:
        turn = take_turn(session, every=-TEN)
        assert turn is not None
        session.get_one(CatchUp, turn.repository.id).looked_at = now()
    bench.app("api", repository="octo/api")
    with bench.writing() as session:
        turn = take_turn(session, every=TEN)
    assert turn is not None
    assert turn.repository.full_name == "octo/api"


def test_a_push_whose_message_holds_a_nul_is_not_lost(bench: Bench, app: App) -> None:
    deployment = bench.deployment(bench.push(app, message="half\0and half"))
    assert deployment.commit_message == "halfand half"


def test_everything_is_sealed_anew_with_a_new_key(bench: Bench) -> None:
    bench.app(token="ghp_secretsecretsecret")
    both = f"{NEW_KEY.get_secret_value()},{SECRET_KEY.get_secret_value()}"
    settings = bench.runtime.settings.model_copy(update={"secret_key": SecretStr(both)})
    runtime = open_runtime(settings)
    rotate(runtime, TESTER, told=lambda _done, _total: None)
    with runtime.database.reading() as session:
        assert count_by_key(session, runtime.vault) == {fingerprint(NEW_KEY): 2}
    runtime.database.close()
