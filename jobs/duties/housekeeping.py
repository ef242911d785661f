"""Removes old logs, ended sessions and, if the settings ask for it, unused build cache.

The step `retire` and the watcher's sweep remove images and containers.
"""

import logging
from datetime import timedelta
from pathlib import Path

from sqlmodel import select

from jobs.adapters.ports import Engine
from jobs.processes.runtime import Runtime
from jobs.records.logins import drop_ended_sessions
from jobs.records.repositories import forget_expired
from jobs.settings import WorkerSettings
from jobs.storage.models import App, now

logger = logging.getLogger(__name__)

MIB = 1024 * 1024


def keep_house(runtime: Runtime[WorkerSettings], engine: Engine) -> None:
    """Remove what is out of date, once."""
    settings = runtime.settings
    drop_old_logs(runtime, settings.logs_dir, older_than=timedelta(days=settings.keep_logs_days))
    with runtime.database.writing() as session:
        drop_ended_sessions(session)
        forget_expired(session)
    if settings.build_cache_mb:
        freed = engine.trim_build_cache(settings.build_cache_mb * MIB)
        logger.info("freed %d MB of build cache", freed // MIB, extra={"action": "cache_trimmed"})


def drop_old_logs(
    runtime: Runtime[WorkerSettings], logs_dir: Path, *, older_than: timedelta
) -> None:
    """Remove logs whose last write is older than `older_than`, except those of live deployments."""
    cutoff = (now() - older_than).timestamp()
    with runtime.database.reading() as session:
        live = {str(found) for found in session.exec(select(App.live_deployment_id)).all()}
    for path in logs_dir.glob("*.log"):
        if path.stem not in live and path.stat().st_mtime < cutoff:
            path.unlink(missing_ok=True)
