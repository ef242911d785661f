"""What an app is said to do follows what Docker says of its live container."""

import pytest

from jobs.adapters.ports import Container
from jobs.containers import describe, look_at_containers, note_container
from jobs.models import App
from jobs.queries import app_view
from jobs.states import AppState, ContainerState, Restart
from tests.fakes import Behaviour
from tests.jobs.bench import Bench


@pytest.fixture
def app(bench: Bench) -> App:
    """An app with a live container."""
    made = bench.app()
    bench.deploy(made)
    return bench.fresh(made)


def live(app: App) -> str:
    assert app.live_container_id is not None
    return app.live_container_id


def look(bench: Bench) -> None:
    look_at_containers(bench.runtime, bench.world.tools)


def test_a_live_container_that_nobody_keeps_running_is_kept_from_now_on(
    bench: Bench, app: App
) -> None:
    """The worker died between the switch and the retirement, say."""
    bench.world.engine.keep_running(live(app), Restart.NEVER)
    look(bench)
    assert bench.world.engine.inspect(live(app)).restart == Restart.ALWAYS
    bench.world.journal.clear()
    look(bench)
    assert bench.world.calls("keep_running") == []


def test_one_that_has_ended_before_anybody_kept_it_running_is_started(
    bench: Bench, app: App
) -> None:
    """The engine was killed between the switch and the retirement, say."""
    bench.world.engine.keep_running(live(app), Restart.NEVER)
    bench.world.engine.crash(live(app), ContainerState.EXITED)
    look(bench)
    assert bench.world.engine.inspect(live(app)).state is ContainerState.RUNNING
    look(bench)
    assert state(bench) == (AppState.RUNNING, "")


def test_one_that_was_kept_running_and_has_been_stopped_since_stays_so(
    bench: Bench, app: App
) -> None:
    bench.world.engine.crash(live(app), ContainerState.EXITED)
    look(bench)
    assert bench.world.engine.inspect(live(app)).state is ContainerState.EXITED


def state(bench: Bench) -> tuple[AppState, str]:
    with bench.reading() as session:
        view = app_view(session, "web", bench.runtime.settings)
    return view.state, view.state_reason


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        (Container("1", ContainerState.RUNNING), ""),
        (Container("1", ContainerState.RUNNING, health="healthy"), ""),
        (Container("1", ContainerState.RUNNING, health="starting"), ""),
        (
            Container("1", ContainerState.RUNNING, health="unhealthy"),
            "its container is unhealthy, says the image's own health check",
        ),
        (
            Container("1", ContainerState.EXITED, exit_code=3),
            "its container exited with code 3",
        ),
        (
            Container("1", ContainerState.EXITED, exit_code=137),
            "its container exited with code 137, as when out of memory",
        ),
        (
            Container("1", ContainerState.EXITED, exit_code=137, out_of_memory=True),
            "its container was stopped because it was out of memory",
        ),
        (
            Container("1", ContainerState.RESTARTING, exit_code=1, restarts=4),
            "its container exited with code 1, again and again (4 restarts)",
        ),
        (
            Container("1", ContainerState.MISSING),
            "its container does not exist any more; deploy again to replace it",
        ),
    ],
)
def test_each_way_to_be_is_a_sentence(container: Container, sentence: str) -> None:
    assert describe(container) == sentence


@pytest.mark.parametrize(
    ("happens", "expected", "reason"),
    [
        (ContainerState.EXITED, AppState.STOPPED, "its container exited with code 1"),
        (ContainerState.MISSING, AppState.STOPPED, "does not exist any more"),
        (ContainerState.RESTARTING, AppState.FAILING, "again and again"),
    ],
)
def test_what_happens_to_the_container_is_seen_in_the_app(
    bench: Bench, app: App, happens: ContainerState, expected: AppState, reason: str
) -> None:
    assert state(bench) == (AppState.RUNNING, "")
    bench.world.engine.crash(live(app), happens)
    look(bench)
    found, told = state(bench)
    assert found is expected
    assert reason in told


def test_an_app_that_comes_back_is_running_again(bench: Bench, app: App) -> None:
    bench.world.engine.crash(live(app), ContainerState.EXITED)
    look(bench)
    bench.world.engine.crash(live(app), ContainerState.RUNNING)
    look(bench)
    assert state(bench) == (AppState.RUNNING, "")


def test_an_unhealthy_one_makes_the_app_failing(bench: Bench) -> None:
    app = bench.app()
    bench.world.engine.behaviour = Behaviour(docker_health="healthy")
    bench.deploy(app)
    found = Container(live(bench.fresh(app)), ContainerState.RUNNING, health="unhealthy")
    note_container(bench.runtime, bench.fresh(app), found)
    assert state(bench)[0] is AppState.FAILING


def test_a_container_that_was_replaced_meanwhile_changes_nothing(bench: Bench, app: App) -> None:
    seen = app
    bench.deploy(app)
    note_container(bench.runtime, seen, Container(live(seen), ContainerState.MISSING))
    assert state(bench) == (AppState.RUNNING, "")


def test_an_app_that_was_removed_meanwhile_is_no_trouble(bench: Bench, app: App) -> None:
    with bench.writing() as session:
        session.delete(session.get_one(App, app.id))
    note_container(bench.runtime, app, Container(live(app), ContainerState.MISSING))
    look(bench)


def test_only_what_has_changed_is_written(bench: Bench, app: App) -> None:
    before = changes(bench)
    look(bench)
    assert changes(bench) == before
    bench.world.engine.crash(live(app), ContainerState.EXITED)
    look(bench)
    assert changes(bench) != before


def changes(bench: Bench) -> int:
    """Give SQLite's own count of what others have committed."""
    with bench.reading() as session:
        return int(session.connection().exec_driver_sql("PRAGMA data_version").scalar_one())
