"""Stores the state of the machine and of Keystone's other processes, for the pages to read.

It is a row of the database, not a message over Redis: a page must not wait for a Redis that hangs.
"""

import shutil
from collections.abc import Sequence

from jobs.adapters.ports import Engine
from jobs.errors import KeystoneError
from jobs.processes.runtime import Runtime
from jobs.records.watched import keep_vitals
from jobs.settings import WorkerSettings
from jobs.storage.models import Vitals, now

MIB = 1024 * 1024


def note_vitals(runtime: Runtime[WorkerSettings], engine: Engine) -> None:
    """Check workers, disks and services, and store the result in place of the last one.

    Raises:
        StorageError: the database cannot be used.
    """
    problems = _problems(runtime)
    disk = shutil.disk_usage(runtime.settings.data_dir)
    engine_free = _engine_free(engine)
    if words := shortage([disk.free, engine_free], runtime.settings.min_free_disk_mb):
        problems["disk"] = words
    found = Vitals(
        at=now(),
        workers=_workers(runtime, problems),
        disk_free=disk.free,
        disk_total=disk.total,
        engine_free=engine_free,
        problems=problems,
    )
    with runtime.database.writing() as session:
        keep_vitals(session, found)


def shortage(free: Sequence[int | None], floor_mb: int) -> str:
    """Give a sentence if a disk is too full to build; empty if none is.

    Args:
        free: the free bytes of each disk; None for a disk that cannot be read.
    """
    least_mb = min(each for each in free if each is not None) // MIB
    if least_mb >= floor_mb:
        return ""
    return f"only {least_mb:,} MB are free; below {floor_mb:,} MB nothing is built"


def _problems(runtime: Runtime[WorkerSettings]) -> dict[str, str]:
    """Give the problems of Docker, the router and Redis, by name; healthy ones are left out."""
    try:
        health = runtime.bus.health() or {}
    except KeystoneError as exc:
        return {"redis": str(exc)}
    return {part: words for part, words in health.items() if words != "ok"}


def _workers(runtime: Runtime[WorkerSettings], problems: dict[str, str]) -> int:
    # Without Redis no worker can take work, so none counts as alive.
    return 0 if "redis" in problems else runtime.queue.workers_alive()


def _engine_free(engine: Engine) -> int | None:
    try:
        return engine.free_disk()
    except KeystoneError:
        return None
