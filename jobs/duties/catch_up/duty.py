"""The watcher's duty: chooses a repository, checks it for missed pushes and logs the result.

Nothing else depends on it: a failure is recorded at the repository and retried later.
"""

import logging
from datetime import timedelta

from jobs.duties.catch_up.by_deliveries import by_deliveries
from jobs.duties.catch_up.by_heads import by_heads
from jobs.duties.catch_up.look import Look, Means, prepare
from jobs.errors import GitHubDeniedError, GitHubError, KeystoneError
from jobs.records.catch_up import Turn, end_turn, is_anybodys_turn, look_again, take_turn
from jobs.rules.missed_pushes import Finding, failed, in_words
from jobs.states import CatchUpWay

logger = logging.getLogger(__name__)

NO_TOKEN = "there is no token to ask GitHub with"  # noqa: S105


class CatchingUp:
    """Checks one repository per call; the first call makes all of them due."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._has_begun = False

    def __call__(self) -> bool:
        """Check the repository that is due; False when none is."""
        every = timedelta(minutes=self._means.runtime.settings.catch_up_minutes)
        turn = self._next(every) if every else None
        if turn is None:
            return False
        finding = look_after(self._means, turn)
        with self._means.runtime.database.writing() as session:
            end_turn(session, turn, finding)
        _tell(turn, finding)
        self._means.runtime.queue.wake(finding.queued)
        return True

    def _next(self, every: timedelta) -> Turn | None:
        database = self._means.runtime.database
        if not self._has_begun:
            with database.writing() as session:
                look_again(session)
            self._has_begun = True
        # Usually none is due: check that first, without blocking writers.
        with database.reading() as session:
            if not is_anybodys_turn(session):
                return None
        with database.writing() as session:
            return take_turn(session, every=every)


def look_after(means: Means, turn: Turn) -> Finding:
    """Find a repository's missed pushes and queue them; a failure is part of the finding."""
    try:
        with means.runtime.database.reading() as session:
            look = prepare(session, means, turn)
        return _ask_github(look)
    except GitHubError as exc:
        return failed(CatchUpWay.DELIVERIES, exc, retry_after_s=exc.retry_after_s)
    except KeystoneError as exc:
        return failed(CatchUpWay.DELIVERIES, exc)


def _ask_github(look: Look) -> Finding:
    token = look.api_token
    if token is None:
        return by_heads(look, NO_TOKEN)
    try:
        hook = look.means.forge.hook_at(look.address, look.hook_url, token)
        if hook is not None:
            return by_deliveries(look, hook, token)
    except GitHubDeniedError as exc:
        return by_heads(look, str(exc))
    name = look.address.full_name
    return by_heads(look, f"no webhook of {name} sends to {look.hook_url}")


def _told(finding: Finding) -> str:
    """Return the words for a finding: one that failed may have found something before."""
    found = in_words(finding.missed, finding.found)
    told = (found, finding.problem if finding.is_failure else "")
    return "; ".join(each for each in told if each)


def _tell(turn: Turn, finding: Finding) -> None:
    level = logging.WARNING if finding.is_failure else logging.DEBUG
    logger.log(
        logging.INFO if finding.queued else level,
        "catching up on %s: %s",
        turn.repository.full_name,
        _told(finding),
        extra={"action": "caught_up", "repository": turn.repository.full_name},
    )
