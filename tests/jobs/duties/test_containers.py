"""What an app is said to do follows what Docker says of its live container."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import docker
import pytest

from jobs.adapters.docker.engine import DockerEngine
from jobs.duties.containers import (
    FEWEST_RESTARTS,
    describe,
    follow_containers,
    look_at_containers,
    note_container,
)
from jobs.reads.apps import app_view
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import Container, ContainerSpec
from jobs.rules.naming import container_name, labels, network_name
from jobs.states import AppState, ContainerState, Restart
from jobs.storage.models import App, now
from tests.enginebench import IDENTITY, build, dockerfile, sweep, wait_until
from tests.fakes import Behaviour
from tests.jobs.bench import Bench

HOUR = timedelta(hours=1)
NETWORK = network_name(IDENTITY, "web")


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


def test_what_docker_tells_is_noted_at_once(bench: Bench, app: App) -> None:
    other = bench.world.engine.add_container("of-somebody-else", {})
    bench.world.engine.crash(other, ContainerState.EXITED)
    bench.world.engine.crash(live(app), ContainerState.EXITED, exit_code=3)
    follow_containers(bench.runtime, bench.world.tools)
    told = bench.fresh(app)
    assert told.container_state is ContainerState.EXITED
    assert told.container_reason == "its container exited with code 3"


def test_a_container_that_exited_before_it_got_its_restart_policy_is_started(
    bench: Bench, app: App
) -> None:
    """The engine was killed between the switch and the retirement, say."""
    bench.world.engine.keep_running(live(app), Restart.NEVER)
    bench.world.engine.crash(live(app), ContainerState.EXITED)
    look(bench)
    assert bench.world.engine.inspect(live(app)).state is ContainerState.RUNNING
    look(bench)
    assert state(bench) == (AppState.RUNNING, "")


def test_a_container_that_somebody_stopped_stays_stopped(bench: Bench, app: App) -> None:
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
def test_each_container_state_has_a_sentence(container: Container, sentence: str) -> None:
    assert describe(container) == sentence


MOMENT = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("started_at", ["2026-11-27T11:59:50.123456789Z", "2026-11-27T11:57:01Z"])
def test_a_container_that_runs_between_two_exits_is_not_steady(started_at: str) -> None:
    running = Container("1", ContainerState.RUNNING, restarts=3, started_at=started_at)
    assert describe(running, at=MOMENT) == (
        "its container ends again and again (3 restarts, the last one less than 3 minutes ago)"
    )


@pytest.mark.parametrize(
    ("restarts", "started_at"),
    [
        (40, "2026-11-27T11:57:00Z"),
        (2, "2026-11-27T11:59:50Z"),
        (0, "2026-11-27T11:59:50Z"),
        (3, ""),
    ],
)
def test_a_container_that_has_run_for_a_while_is_steady(restarts: int, started_at: str) -> None:
    running = Container("1", ContainerState.RUNNING, restarts=restarts, started_at=started_at)
    assert describe(running, at=MOMENT) == ""


def test_an_app_that_loops_is_failing_until_it_has_been_steady_for_a_while(
    bench: Bench, app: App
) -> None:
    began = now()
    for ago, expected in ((timedelta(seconds=5), AppState.FAILING), (HOUR, AppState.RUNNING)):
        restart(bench, app, times=3, at=began - ago)
        look(bench)
        assert state(bench)[0] is expected


def test_the_restart_count_is_stored_as_a_number(bench: Bench, app: App) -> None:
    restart(bench, app, times=3, at=now() - timedelta(seconds=5))
    look(bench)
    known = bench.fresh(app)
    assert known.container_reason == "its container ends again and again"
    assert known.container_restarts == 3
    assert state(bench)[1] == (
        "its container ends again and again (3 restarts, the last one less than 3 minutes ago)"
    )
    restart(bench, app, times=4, at=now() - timedelta(seconds=5))
    look(bench)
    assert bench.fresh(app).container_restarts == 4


def restart(bench: Bench, app: App, *, times: int, at: datetime) -> None:
    """Have the engine restart the live container so often, and the last time then."""
    found = bench.world.engine.all_containers[live(app)]
    found.about = replace(found.about, restarts=times, started_at=at.isoformat())


@pytest.mark.docker
def test_a_real_container_that_ends_soon_after_each_start_is_seen_to_loop() -> None:
    client = docker.from_env(timeout=60)
    engine = DockerEngine(client, IDENTITY)
    try:
        image = build(engine, dockerfile('CMD ["/web", "sleep", "1"]'))
        engine.ensure_network(NETWORK, labels(IDENTITY, "web"))
        name, ours = container_name(IDENTITY, "web", 1), labels(IDENTITY, "web", 1)
        spec = ContainerSpec(
            name, image, NETWORK, ours, settings=ContainerSettings(container_port=8000)
        )
        started = engine.start(spec)
        engine.keep_running(started.id)
        wait_until(lambda: engine.inspect(started.id).restarts >= FEWEST_RESTARTS)
        wait_until(lambda: is_seen_to_loop(engine.inspect(started.id)))
    finally:
        sweep(client)
        client.close()


def is_seen_to_loop(found: Container) -> bool:
    return found.state is ContainerState.RUNNING and "again and again" in describe(found)


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
    # Each connection counts for itself: one of those in the pool is not like another.
    with closing(sqlite3.connect(bench.runtime.settings.data_dir / "keystone.db")) as database:
        before = changes(database)
        look(bench)
        assert changes(database) == before
        bench.world.engine.crash(live(app), ContainerState.EXITED)
        look(bench)
        assert changes(database) != before


def changes(database: sqlite3.Connection) -> int:
    """Give SQLite's own count of what others have committed."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])
