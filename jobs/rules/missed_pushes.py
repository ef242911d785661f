"""Decides which pushes were missed and what to do. Pure: `jobs.duties.catch_up` asks and acts.

An app catches up only on pushes made since it was added, and only on the newest of them. An app
that was never deployed is not deployed just because its branch has a commit: a person or a push
must start that. A deployment that somebody requested after the missed push is not replaced.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.errors import KeystoneError
from jobs.rules.refs import NEWEST_TAG
from jobs.rules.repository_values import HookDelivery
from jobs.rules.triggers import Deploy, Ignored, short_ref
from jobs.states import CatchUpWay

PUSH = "push"
# GitHub keeps deliveries for this long, and people expect no older pushes to be caught up on.
LOOKS_BACK = timedelta(days=3)
# GitHub's list may lag behind, so each search repeats the end of the period searched before.
OVERLAP = timedelta(hours=1)
GOOD = range(200, 300)
LONGEST_SENTENCE = 500
NOTHING = "nothing was missed"
NOTHING_MISSED = Ignored(NOTHING)


@dataclass(frozen=True)
class MissedPush:
    """A push that GitHub has tried to deliver, without a record here."""

    guid: str
    at: datetime  # of the first attempt
    last: HookDelivery  # the last attempt
    why: str


@dataclass(frozen=True)
class Finding:
    """The result of searching one repository for missed pushes.

    Attributes:
        missed: the number of missed pushes; None if unknown.
        found: what happens to them, and any other remarks, in words and without the number.
        queued: the ids of the queued deployments.
        is_whole: whether all pushes made before the search began are accounted for.
        retry_after_s: the delay that GitHub asked for, if it did.
    """

    way: CatchUpWay | None
    missed: int | None
    found: str = ""
    problem: str = ""
    queued: tuple[int, ...] = ()
    is_whole: bool = True
    is_failure: bool = False
    retry_after_s: float | None = None


def failed(
    way: CatchUpWay,
    error: KeystoneError,
    *,
    queued: tuple[int, ...] = (),
    retry_after_s: float | None = None,
) -> Finding:
    """Give the finding of a search that failed or was interrupted."""
    return Finding(
        way,
        None,
        problem=str(error),
        queued=queued,
        is_whole=False,
        is_failure=True,
        retry_after_s=retry_after_s,
    )


def looks_back_to(
    moment: datetime, *, settled_until: datetime | None, first_app_at: datetime
) -> datetime:
    """Give the time from which on deliveries matter."""
    since = max(moment - LOOKS_BACK, first_app_at)
    return since if settled_until is None else max(since, settled_until - OVERLAP)


def missed_pushes(attempts: Sequence[HookDelivery], seen: Collection[str]) -> list[MissedPush]:
    """Give the pushes among the attempts that never arrived, the newest first."""
    by_guid: dict[str, list[HookDelivery]] = {}
    for attempt in attempts:
        if attempt.event == PUSH and attempt.guid not in seen:
            by_guid.setdefault(attempt.guid, []).append(attempt)
    missed = [_missed_push(sorted(of_push, key=_order)) for of_push in by_guid.values()]
    return sorted(missed, key=lambda push: (push.at, push.last.id), reverse=True)


def _order(attempt: HookDelivery) -> tuple[datetime, int]:
    return attempt.at, attempt.id


def _missed_push(attempts: Sequence[HookDelivery]) -> MissedPush:
    first, last = attempts[0], attempts[-1]
    return MissedPush(first.guid, first.at, last, _why(last))


def _why(attempt: HookDelivery) -> str:
    if attempt.status_code in GOOD:
        return "GitHub delivered it, but there is no record of it"
    if attempt.status_code:
        return f"GitHub was answered {attempt.status_code}"
    return f"GitHub could not deliver it ({attempt.status or 'no answer'})"


@dataclass(frozen=True)
class Sight:
    """A branch's present head, and what is known about the branch for one app."""

    ref: str
    head: str | None  # None: the branch does not exist
    base: str | None  # the commit of it that was deployed or seen last; None: never compared
    seen: str | None  # the commit that was its head at the last comparison
    is_known: bool  # a deployment of the app or a delivery was for the head commit
    asked_for: int | None  # the number of a later deployment of something else
    is_older: bool = False  # a tag that is older than one which was seen or deployed


def judge_head(sight: Sight) -> Deploy | Ignored:
    """Decide whether a branch's head is a push that was missed."""
    branch = short_ref(sight.ref)
    if sight.ref == NEWEST_TAG:
        return Ignored("no tag that deploys exists")
    if sight.head is None:
        return Ignored(f"the branch {branch} does not exist")
    if sight.is_known or sight.is_older or sight.head == sight.seen:
        return NOTHING_MISSED
    if sight.base is None:
        return Ignored(f"{branch} is compared from now on; the first deployment is yours to begin")
    if sight.asked_for is not None:
        return Ignored(f"{branch} has moved on, but #{sight.asked_for} was asked for meanwhile")
    return Deploy()


def joined(outcomes: Sequence[str]) -> str:
    """Say each outcome once."""
    return ", ".join(dict.fromkeys(outcome for outcome in outcomes if outcome))


def in_words(missed: int | None, found: str) -> str:
    """Say in one sentence how many pushes were missed, and what happens to them.

    Args:
        missed: the number; None if unknown, which is not mentioned.
    """
    if not missed:
        unsaid = "" if missed is None else NOTHING
        return (found or unsaid)[:LONGEST_SENTENCE]
    counted = "1 push was missed" if missed == 1 else f"{missed} pushes were missed"
    return f"{counted}: {found}"[:LONGEST_SENTENCE]
