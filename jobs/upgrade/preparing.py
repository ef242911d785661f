"""What is done before an upgrade, while the old version runs: checks, a backup, and trials.

If anything fails here, nothing has been changed.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from jobs.backups.making import Contents, save_backup
from jobs.backups.staging import staging
from jobs.errors import ConflictError, KeystoneError, StorageError
from jobs.processes.hand_over import code_first
from jobs.processes.runtime import find_keystone
from jobs.processes.versions import Running, Version
from jobs.settings import Settings
from jobs.storage.database import Database
from jobs.storage.migrations.apply import (
    BASE,
    HEAD,
    allows,
    latest_compatible,
    migrate_back_to,
    migrate_to,
    newer,
)
from jobs.storage.sqlite_files import copy_database, is_sqlite, sqlite_path, sqlite_url
from jobs.system.private_folder import ensure_private

BACKUPS, BACKUP_NAME, KEPT_BACKUPS = "backups", "before-upgrade-", 3
LEAST_FREE = 200 * 1024 * 1024  # bytes, beside three copies of the database
# Every module that a part begins with. A module that cannot be imported ends the upgrade here.
BEGINNINGS = (
    "jobs.cli.up, jobs.cli.servers, jobs.cli.workers, jobs.cli.router, jobs.deploy, "
    "jobs.processes.supervisor, jobs.processes.router_keeper, jobs.system.die_with_parent, "
    "receiver.app, receiver.protocol"
)
STARTS_WITHIN_S = 120

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How to change the schema.

    Attributes:
        schema: the database's present schema.
        is_compatible: whether the old version can run on the new schema.
    """

    schema: str
    is_compatible: bool

    @property
    def changes_schema(self) -> bool:
        """Whether migrations are missing."""
        return self.schema < HEAD


def prepare(settings: Settings, before: Running, after: Version, tell: Tell) -> Plan:
    """Check that the upgrade can work, make a backup, and try what can be tried.

    Raises:
        ConflictError: this is an older version, or it does not fit the running one.
        StorageError: there is not enough space, the backup failed, or the migration fails.
    """
    plan = _planned(settings, before, after)
    _ensure_space(settings)
    tell(f"a backup is in {_back_up(settings)}")
    if plan.changes_schema:
        _try_migration(settings, plan)
        way = "while the old version runs" if plan.is_compatible else "after it has stopped"
        tell(f"the schema changes from {plan.schema} to {HEAD}, {way}")
    _try_start(after)
    tell("the new version's parts can be started")
    return plan


def _planned(settings: Settings, before: Running, after: Version) -> Plan:
    database, schema = find_keystone(settings)
    with closing(database), database.reading() as session:
        if schema > HEAD and not allows(session.connection(), schema):
            raise newer(schema)
    if _number(after.name) < _number(before.version.name):
        raise ConflictError(
            f"Keystone {before.version.name} runs, which is newer than {after.name} in this "
            "folder; check out the newer one, or stop Keystone and restore a backup of the older"
        )
    is_compatible = schema >= HEAD or latest_compatible(schema) == HEAD
    if not is_compatible and schema < BASE:
        raise ConflictError(
            f"the database has schema {schema}, from which there is no way back: stop Keystone, "
            "and start it again with `make run`"
        )
    return Plan(schema, is_compatible)


def _number(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdecimal())


def _ensure_space(settings: Settings) -> None:
    url = settings.effective_database_url
    size = sqlite_path(url).stat().st_size if is_sqlite(url) else 0
    free, needed = shutil.disk_usage(settings.data_dir).free, 3 * size + LEAST_FREE
    if free < needed:
        raise StorageError(
            f"{settings.data_dir} has {free // 1024**2} MB of free space, and the upgrade needs "
            f"{needed // 1024**2} MB"
        )


def _back_up(settings: Settings) -> Path:
    """Make a backup, and keep only the newest ones of these; return its path."""
    folder = ensure_private(settings.data_dir / BACKUPS)
    path = folder / f"{BACKUP_NAME}{datetime.now(UTC):%Y%m%d-%H%M%S}.keystone"
    contents = Contents(database=is_sqlite(settings.effective_database_url))
    save_backup(settings, path, contents, force=True, progress=lambda *_: None)
    for older in sorted(folder.glob(f"{BACKUP_NAME}*"))[:-KEPT_BACKUPS]:
        older.unlink(missing_ok=True)
    return path


def _try_migration(settings: Settings, plan: Plan) -> None:
    """Migrate a copy of the database, and bring the copy back where that may become necessary.

    PostgreSQL's databases cannot be copied from here. Their migrations run in one transaction.
    """
    url = settings.effective_database_url
    if not is_sqlite(url):
        return
    with staging(settings.data_dir) as folder:
        copy = folder / "trial.db"
        copy_database(sqlite_path(url), copy)
        with closing(Database(sqlite_url(copy))) as database:
            try:
                migrate_to(database, HEAD)
                if not plan.is_compatible:
                    migrate_back_to(database, plan.schema)
            except (SQLAlchemyError, CommandError, KeystoneError, ArithmeticError) as exc:
                raise _untouched(f"the migration of a copy of the database fails: {exc}") from exc
            except Exception as exc:
                # A migration is code of any kind.
                told = f"the migration of a copy of the database fails: {type(exc).__name__}: {exc}"
                raise _untouched(told) from exc


def _try_start(after: Version) -> None:
    """Import the modules of all parts in the new environment."""
    command = (after.python, "-P", "-c", f"import {BEGINNINGS}")
    try:
        done = subprocess.run(  # noqa: S603 — our own command line, no shell
            command,
            env=code_first(after, os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STARTS_WITHIN_S,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise _untouched(f"the new version does not start ({type(exc).__name__})") from exc
    if done.returncode != 0:
        last = "".join(done.stderr.strip().splitlines()[-1:])
        raise _untouched(f"the new version does not start: {last}")


def _untouched(told: str) -> StorageError:
    return StorageError(f"{told.strip()}\nnothing was changed: the old version runs on")


def seconds_since(begun: float) -> str:
    """Give the time since a moment of the monotonic clock, for the lines of progress."""
    return f"{time.monotonic() - begun:5.1f} s"
