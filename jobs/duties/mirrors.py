"""Removes the mirrors of removed repositories from disk.

A repository's id is never reused, so a mirror whose id has no row is certainly unneeded. The
removal may therefore happen at any time, and may be retried.
"""

import logging

from sqlmodel import select

from jobs.deployment.work import Tools
from jobs.processes.runtime import Runtime
from jobs.settings import WorkerSettings
from jobs.storage.models import Repository

logger = logging.getLogger(__name__)


def sweep_mirrors(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Remove the mirrors whose repositories were removed."""
    # List the mirrors before reading the database, so that one made in between is not on the list.
    kept = tools.source.kept()
    if not kept:
        return
    with runtime.database.reading() as session:
        known = set(session.exec(select(Repository.id)).all())
    for repository_id in sorted(kept - known):
        logger.info(
            "removing the copy of repository %d, which is gone",
            repository_id,
            extra={"action": "mirror_swept"},
        )
        tools.source.forget(repository_id)
