"""What is past its keep goes, and what somebody may still need stays."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from jobs.duties.housekeeping import MIB, drop_old_logs, keep_house
from jobs.processes.runtime import Runtime
from jobs.reads.people import SESSION_LONGEST
from jobs.records.logins import drop_ended_sessions
from jobs.settings import WorkerSettings
from jobs.states import Role
from jobs.storage.deployment_log import log_path
from jobs.storage.models import App, LoginSession, User, now
from tests.fakes import FakeWorld
from tests.jobs.bench import Bench

WEEK = timedelta(days=7)


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def age(path: Path, *, days: float) -> None:
    """Have a file be that old."""
    moment = time.time() - days * 86400
    os.utime(path, (moment, moment))


def logs(bench: Bench) -> list[str]:
    return sorted(path.name for path in bench.runtime.settings.logs_dir.iterdir())


def tidy(bench: Bench) -> None:
    drop_old_logs(bench.runtime, bench.runtime.settings.logs_dir, older_than=WEEK)


class TestLogs:
    def test_old_ones_go_and_young_ones_stay(self, bench: Bench, app: App) -> None:
        ids = [bench.deploy(app).id or 0 for _ in range(3)]
        folder = bench.runtime.settings.logs_dir
        age(log_path(folder, ids[0]), days=8)
        age(log_path(folder, ids[1]), days=6)
        tidy(bench)
        assert logs(bench) == [f"{ids[1]}.log", f"{ids[2]}.log"]

    def test_the_live_deployments_stays_however_old(self, bench: Bench, app: App) -> None:
        ids = [bench.deploy(app).id or 0 for _ in range(2)]
        for number in ids:
            age(log_path(bench.runtime.settings.logs_dir, number), days=4000)
        tidy(bench)
        assert logs(bench) == [f"{ids[1]}.log"]

    def test_what_is_no_log_is_not_touched(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        other = bench.runtime.settings.logs_dir / "notes.txt"
        other.write_text("mine")
        age(other, days=4000)
        tidy(bench)
        assert "notes.txt" in logs(bench)

    def test_without_any_log_there_is_nothing_to_do(self, bench: Bench, tmp_path: Path) -> None:
        drop_old_logs(bench.runtime, tmp_path / "none", older_than=WEEK)


def test_logins_that_are_over_are_forgotten(bench: Bench) -> None:
    with bench.writing() as session:
        user = User(name="ada", role=Role.VIEWER, password_hash="none")
        session.add(user)
        session.flush()
        for name, before in (("over", SESSION_LONGEST), ("open", timedelta(days=0))):
            made = now() - before - timedelta(seconds=1)
            row = LoginSession(hashed=name, user_id=user.id or 0, csrf_token="x", created_at=made)
            session.add(row)
        session.flush()
        drop_ended_sessions(session)
    with bench.reading() as session:
        assert session.exec(select(LoginSession.hashed)).all() == ["open"]


class TestBuildCache:
    @pytest.fixture
    def keeping(
        self, runtime: Runtime[WorkerSettings], world: FakeWorld
    ) -> Callable[[int], list[str]]:
        def keep(megabytes: int) -> list[str]:
            world.engine.cached_bytes = 300 * MIB
            changed = runtime.settings.model_copy(update={"build_cache_mb": megabytes})
            keep_house(replace(runtime, settings=changed), world.engine)
            return world.calls("trim_build_cache")

        return keep

    def test_it_is_nobodys_to_trim_unless_a_size_is_set(
        self, keeping: Callable[[int], list[str]], world: FakeWorld
    ) -> None:
        assert keeping(0) == []
        assert world.engine.cached_bytes == 300 * MIB

    def test_it_is_trimmed_to_the_size_that_is_set(
        self, keeping: Callable[[int], list[str]], world: FakeWorld
    ) -> None:
        assert keeping(100) == [f"trim_build_cache {100 * MIB}"]
        assert world.engine.cached_bytes == 100 * MIB
