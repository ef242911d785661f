"""Writing down how the machine and the other processes are, for pages that may only read.

It is a row of the database and no message over Redis: a page must not wait for a Redis that hangs.
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
    """Look at workers, disks and neighbours, and keep what was found in the place of the last.

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
    """Say that a disk is too full to build; empty when none is.

    Args:
        free: the bytes free on each disk; None for one that cannot be seen.
    """
    least_mb = min(each for each in free if each is not None) // MIB
    if least_mb >= floor_mb:
        return ""
    return f"only {least_mb:,} MB are free; below {floor_mb:,} MB nothing is built"


def _problems(runtime: Runtime[WorkerSettings]) -> dict[str, str]:
    """Give what is wrong with Docker, the router and Redis, by name; what is well is left out."""
    try:
        health = runtime.bus.health() or {}
    except KeystoneError as exc:
        return {"redis": str(exc)}
    return {part: words for part, words in health.items() if words != "ok"}


def _workers(runtime: Runtime[WorkerSettings], problems: dict[str, str]) -> int:
    # Without Redis there is nothing to take work from, whoever may be alive.
    return 0 if "redis" in problems else runtime.queue.workers_alive()


def _engine_free(engine: Engine) -> int | None:
    try:
        return engine.free_disk()
    except KeystoneError:
        return None
