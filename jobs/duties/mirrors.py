"""Removing the copies of repositories that are gone: their source code is nobody's any more.

A repository's id is never given to another one, so a copy whose id no row has belongs to nobody,
whenever that is noticed and however often it has to be tried.
"""

import logging

from sqlmodel import select

from jobs.deployment.work import Tools
from jobs.processes.runtime import Runtime
from jobs.settings import WorkerSettings
from jobs.storage.models import Repository

logger = logging.getLogger(__name__)


def sweep_mirrors(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Remove what is kept on disk of repositories that were removed."""
    # Listed before the database is asked: what is made in between is not on the list.
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
