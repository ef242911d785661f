"""Compares branch heads with the known commits, for pushes that GitHub's deliveries do not show.

A head does not tell when it was pushed or what was pushed in between. So a commit that is known in
any way is left alone, however its deployment ended.
"""

from functools import cached_property

from jobs.duties.catch_up.look import Look
from jobs.errors import CheckoutError, KeystoneError
from jobs.records.catch_up import followed_ref, note_head, queue_head, sight_of
from jobs.records.pushes import rule_of
from jobs.rules.app_settings import EVERY_TAG
from jobs.rules.missed_pushes import NOTHING_MISSED, Finding, Sight, failed, joined, judge_head
from jobs.rules.newest_tag import newest_tag
from jobs.rules.refs import NEWEST_TAG, TAG_PREFIX
from jobs.rules.stopping import StopSignal
from jobs.rules.triggers import Deploy, Ignored, Judgement, Push, bounded_paths
from jobs.states import CatchUpWay
from jobs.storage.models import App, Deployment

WAY = CatchUpWay.BRANCH_HEAD
# GitHub's delivery of a push that was made just now may still be on its way.
GRACE_S = 10.0
ARRIVED = "it has arrived meanwhile"


def by_heads(look: Look, why: str) -> Finding:
    """Queue the head of each app's branch if that commit is unknown here.

    Args:
        look: the repository to check.
        why: the reason why some or all of GitHub's deliveries could not be read; it is reported.
    """
    queued: list[int] = []
    words: list[str] = []
    heads = _Heads(look)
    try:
        for app in look.turn.apps:
            match _compare(look, app, *heads.of(app)):
                case Deployment() as row:
                    queued.append(row.id or 0)
                    words.append(f"#{row.number} of {app.name} is queued")
                case reason:
                    words.append(reason)
    except KeystoneError as exc:
        return failed(WAY, exc, queued=tuple(queued))
    return Finding(WAY, len(queued), joined(words), problem=why, queued=tuple(queued))


class _Heads:
    """Asks the git server for each branch once, and for all tags once."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._heads: dict[str, str | None] = {}

    def of(self, app: App) -> tuple[str, str | None]:
        """Give the branch or newest tag that the app deploys, and its commit."""
        ref = followed_ref(app)
        if ref == NEWEST_TAG:
            name = newest_tag(self._tags, app.push_rules.tags or EVERY_TAG)
            return (ref, None) if name is None else (f"{TAG_PREFIX}{name}", self._tags[name])
        if ref not in self._heads:
            self._heads[ref] = self._look.head(ref)
        return ref, self._heads[ref]

    @cached_property
    def _tags(self) -> dict[str, str]:
        return self._look.means.source.tags(self._look.remote, stop=StopSignal())


def _compare(look: Look, app: App, ref: str, head: str | None) -> Deployment | str:
    """Queue a branch's head if its push was missed; else return why not, and store the head.

    Returns:
        The deployment, or the reason why there is none; empty when nothing was missed.
    """
    database = look.means.runtime.database
    with database.reading() as session:
        sight = sight_of(session, app, ref, head)
    outcome: Deployment | str
    match judge_head(sight):
        case verdict if verdict == NOTHING_MISSED:
            outcome = ""
        case Ignored(reason):
            outcome = reason
        case Deploy():
            outcome = _catch_up(look, app, sight)
    if head is not None and isinstance(outcome, str):
        with database.writing() as session:
            note_head(session, app.id or 0, sight.ref, head, seen_at=look.turn.began_at)
    return outcome


def _catch_up(look: Look, app: App, sight: Sight) -> Deployment | str:
    """Queue the head as a missed push, unless the app's push rules ignore it."""
    rule = rule_of(app)
    judgement = Judgement(_describe(look, app, sight), [rule])
    match judgement.on([rule]):
        case [Ignored(reason)]:
            return reason
    look.means.pause(GRACE_S)

    def queue() -> Deployment | str:
        with look.means.runtime.database.writing() as session:
            return queue_head(session, app.id or 0, judgement) or ARRIVED

    return judgement.settle(queue)


def _describe(look: Look, app: App, sight: Sight) -> Push:
    """Build the push as its delivery would have described it."""
    source, head = look.means.source, sight.head or ""
    source.fetch(look.remote, ref=sight.ref, sha=head, stop=StopSignal())
    commit = source.commit(look.remote, head)
    return Push(
        github_id=look.address.github_id or 0,
        full_name=look.address.full_name,
        ref=sight.ref,
        before=sight.base or "",
        commit_sha=head,
        deleted=False,
        message=commit.message,
        author=commit.author,
        sender="",
        pushed_at=None,
        paths=_changed(look, sight.base, head)
        if app.push_rules.watch_paths and sight.base
        else None,
    )


def _changed(look: Look, base: str, head: str) -> frozenset[str] | None:
    """Return the paths that differ between two commits.

    None when one of the commits cannot be fetched any more, or when too many paths differ.
    """
    source = look.means.source
    try:
        source.fetch(look.remote, ref=base, sha=base, stop=StopSignal())
    except CheckoutError:
        return None
    paths = source.changed(look.remote, base, head)
    return None if paths is None else bounded_paths(paths)
