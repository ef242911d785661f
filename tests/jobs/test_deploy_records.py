"""The end of a deployment while the database cannot be written, or loses its answers."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlmodel import Session

from jobs import deploy
from jobs.errors import BuildError, HandedOverError, StorageError
from jobs.states import DeploymentState
from jobs.storage.database import Database
from jobs.storage.models import App
from tests.jobs.bench import Bench
from tests.jobs.test_taken_over import steal_app


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


class Unsteady(Database):
    """A database that cannot be written for a while, or whose answers are lost."""

    refusals: float = 0
    lost_answers = 0

    @contextmanager
    def writing(self, *, until: float | None = None) -> Iterator[Session]:
        """Refuse, or write without saying so, as often as it was told to."""
        if self.refusals > 0:
            self.refusals -= 1
            raise StorageError("the database did not answer: database or disk is full")
        with super().writing(until=until) as session:
            yield session
        if self.lost_answers > 0:
            self.lost_answers -= 1
            raise StorageError("the database did not answer: the connection is gone")


class TestAnEndThatCannotBeRecorded:
    @pytest.fixture
    def database(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Unsteady]:
        monkeypatch.setattr(deploy, "PAUSE_S", 0.02)
        database = Unsteady(bench.runtime.database.url)
        bench.runtime = replace(bench.runtime, database=database)
        yield database
        database.close()

    def broken(self, bench: Bench, app: App, act: Callable[[], None]) -> int:
        """Push something whose build fails, with something else happening at that moment."""

        def build(_about: str) -> None:
            act()
            raise BuildError("there is no Dockerfile")

        bench.world.engine.on("build", build)
        return bench.push(app)

    def test_keeps_its_reason_until_it_is_recorded(
        self, bench: Bench, app: App, database: Unsteady
    ) -> None:
        pushed = self.broken(bench, app, lambda: setattr(database, "refusals", 3))
        done = bench.run(pushed)
        assert (done.state, done.reason) == (DeploymentState.FAILURE, "there is no Dockerfile")
        assert database.refusals == 0
        assert bench.leases() == []

    def test_is_right_if_only_the_databases_answer_was_lost(
        self, bench: Bench, app: App, database: Unsteady
    ) -> None:
        pushed = self.broken(bench, app, lambda: setattr(database, "lost_answers", 1))
        done = bench.run(pushed)
        assert (done.state, done.reason) == (DeploymentState.FAILURE, "there is no Dockerfile")
        assert bench.leases() == []

    def test_is_left_to_the_watcher_after_some_time(
        self, bench: Bench, app: App, database: Unsteady, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deploy, "RECORDED_WITHIN_S", 0.1)
        pushed = self.broken(bench, app, lambda: setattr(database, "refusals", math.inf))
        with pytest.raises(StorageError, match="disk is full"):
            bench.run(pushed)
        database.refusals = 0
        assert bench.deployment(pushed).state is DeploymentState.RUNNING

    def test_is_not_recorded_once_another_worker_has_the_lease(
        self, bench: Bench, app: App, database: Unsteady
    ) -> None:
        def steal() -> None:
            steal_app(bench)
            database.refusals = 1

        engine = bench.world.engine
        pushed = self.broken(bench, app, lambda: engine.on("containers", lambda _: steal()))
        assert bench.run(pushed).state is DeploymentState.RUNNING

    def test_of_a_handed_over_deployment_leaves_it_queued(
        self, bench: Bench, app: App, database: Unsteady
    ) -> None:
        def build(_about: str) -> None:
            database.refusals = 2
            raise HandedOverError("the worker is to stop")

        bench.world.engine.on("build", build)
        assert bench.run(bench.push(app)).state is DeploymentState.QUEUED
