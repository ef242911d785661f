"""A restore that is killed: either the old Keystone is there afterwards or the new one, whole."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import select

from jobs.backups.keys import Ring
from jobs.backups.placing import Placing
from jobs.processes.runtime import open_runtime
from jobs.reads.variables import open_variables
from jobs.records.apps import add_app
from jobs.records.variables import set_variables
from jobs.rules.app_fields import AppInput
from jobs.rules.variables import Variable
from jobs.settings import WorkerSettings
from jobs.storage.models import App
from jobs.storage.sqlite_files import make_whole
from jobs.storage.vault import KEY_FILE, read_keys
from tests.jobs.backups.conftest import ADA, elsewhere

OLD, NEW = "before", "after"
STROKES = 6


def keystone_with(settings: WorkerSettings, name: str, template: Path) -> None:
    """Make a Keystone with an app of that name, whose one variable is a secret of that value."""
    settings.data_dir.mkdir(mode=0o700)
    shutil.copy(template, settings.data_dir / "keystone.db")
    runtime = open_runtime(settings)
    wanted = AppInput(name=name, repository=f"octo/{name}")
    with runtime.database.writing() as session:
        made = add_app(session, wanted, ADA, settings=settings, vault=runtime.vault)
        variables = {"NAME": Variable(SecretStr(name))}
        set_variables(session, made.app, variables, ADA, vault=runtime.vault)
    runtime.database.close()


def found_in(settings: WorkerSettings) -> str:
    """Open whichever Keystone is there, and give the name that its app and its secret have."""
    runtime = open_runtime(settings)
    with runtime.database.reading() as session:
        app = session.exec(select(App)).one()
        secret = open_variables(session, app, runtime.vault)["NAME"].value.get_secret_value()
    runtime.database.close()
    assert app.name == secret
    return app.name


@pytest.fixture
def placing(settings: WorkerSettings, empty_database: Path) -> Callable[[], Placing]:
    """Prepare to put one Keystone where another one is; each has a key of its own."""
    keystone_with(settings, OLD, empty_database)
    other = elsewhere(settings)
    keystone_with(other, NEW, empty_database)
    make_whole(other.data_dir / "keystone.db")
    ring = Ring(read_keys(other.data_dir / KEY_FILE), "the backup", is_kept=True)
    return lambda: Placing(settings, other.data_dir, ring, (), (), ".before-the-test")


@pytest.mark.parametrize("done", range(STROKES + 1))
def test_after_each_operation_one_of_the_two_directories_is_complete(
    placing: Callable[[], Placing], settings: WorkerSettings, done: int
) -> None:
    strokes = placing().strokes
    assert len(strokes) == STROKES
    for stroke in strokes[:done]:
        stroke()
    assert found_in(settings) == (OLD if done < 2 else NEW)


def test_a_database_stands_there_at_every_moment(
    placing: Callable[[], Placing], settings: WorkerSettings
) -> None:
    exchange = placing()
    exchange.strokes[0]()
    before = (settings.data_dir / "keystone.db").stat().st_ino
    exchange.strokes[1]()
    after = (settings.data_dir / "keystone.db").stat().st_ino
    kept = settings.data_dir / "keystone.db.before-the-test"
    # The old file was given a second name, and its own was taken over in one rename.
    assert kept.stat().st_ino == before != after


def test_in_the_end_only_the_new_keys_are_left(
    placing: Callable[[], Placing], settings: WorkerSettings
) -> None:
    exchange = placing()
    exchange.run()
    assert read_keys(settings.data_dir / KEY_FILE) == exchange.ring.keys
    assert {path.name for path in exchange.moved} == {
        "keystone.db.before-the-test",
        "secret.key.before-the-test",
    }
    assert found_in(settings) == NEW


def test_mirrors_of_another_keystone_are_dropped(
    placing: Callable[[], Placing], settings: WorkerSettings
) -> None:
    mirrors = settings.mirrors_dir
    for name in ("1-sha1.git", "2-sha1.git", "2.lock"):
        (mirrors / name).mkdir(parents=True) if name.endswith("git") else (mirrors / name).touch()
    replace(placing(), kept_mirrors=[1]).run()
    assert [path.name for path in mirrors.iterdir()] == ["1-sha1.git"]
