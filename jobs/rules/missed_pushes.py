"""Which pushes were missed, and what is made of them. Pure: `jobs.duties.catch_up` asks and acts.

An app catches up on what was pushed since it was added, and on the newest of it only. An app that
was never deployed is not deployed because its branch has a commit: that is for a person or a push
to begin. Whatever somebody asked for after a push was made stays.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.errors import KeystoneError
from jobs.rules.repository_values import HookDelivery
from jobs.rules.triggers import Deploy, Ignored
from jobs.states import CatchUpWay

PUSH = "push"
# What GitHub keeps, and what people expect to be caught up on.
LOOKS_BACK = timedelta(days=3)
# GitHub's list may be late: the end of what was looked at before is looked at again.
OVERLAP = timedelta(hours=1)
GOOD = range(200, 300)
LONGEST_SENTENCE = 500
NOTHING = "nothing was missed"
NOTHING_MISSED = Ignored(NOTHING)


@dataclass(frozen=True)
class MissedPush:
    """A push that GitHub has tried to deliver and that nobody here knows of."""

    guid: str
    at: datetime  # of the first attempt
    last: HookDelivery  # the last attempt
    why: str


@dataclass(frozen=True)
class Finding:
    """What came of looking after one repository.

    Attributes:
        missed: how many pushes were missed; None: not known.
        found: what becomes of them, and what else there is to say, in words; no count.
        queued: the ids of deployments.
        is_whole: everything up to the beginning of the look is accounted for.
        retry_after_s: GitHub's own wish, when it wants to be left alone.
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
    """Give the finding of a look that came to nothing, or broke off."""
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
    """Say from when on deliveries matter."""
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
    """A branch as it is now, and what is known of it as far as one app goes."""

    ref: str
    head: str | None  # None: there is no such branch
    base: str | None  # the commit deployed of it last, or seen there last; None: never looked at
    seen: str | None  # the commit that was its head at the last look
    is_known: bool  # a deployment of the app or a delivery has been of that commit
    asked_for: int | None  # the number of a deployment of something else that came afterwards


def judge_head(sight: Sight) -> Deploy | Ignored:
    """Decide whether a branch's head is a push that was missed."""
    branch = sight.ref.removeprefix("refs/heads/")
    if sight.head is None:
        return Ignored(f"the branch {branch} does not exist")
    if sight.is_known or sight.head == sight.seen:
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
    """Say in one sentence what was found: how many pushes were missed, and what becomes of them.

    Args:
        missed: None: not known, of which there is nothing to say.
    """
    if not missed:
        unsaid = "" if missed is None else NOTHING
        return (found or unsaid)[:LONGEST_SENTENCE]
    counted = "1 push was missed" if missed == 1 else f"{missed} pushes were missed"
    return f"{counted}: {found}"[:LONGEST_SENTENCE]
