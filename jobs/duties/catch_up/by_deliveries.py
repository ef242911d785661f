"""Asks GitHub for failed deliveries, and accepts the newest missed push of each app."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import SecretStr

from jobs.duties.catch_up.by_heads import by_heads
from jobs.duties.catch_up.look import Look
from jobs.records.catch_up import followed_ref
from jobs.records.deliveries import Envelope, Receipt, accept_push, on_record, write_down
from jobs.records.pushes import Missed, rule_of
from jobs.records.repositories import find_repository
from jobs.records.repository_identity import note_claim
from jobs.rules.missed_pushes import (
    Finding,
    MissedPush,
    joined,
    looks_back_to,
    missed_pushes,
)
from jobs.rules.push_payload import read_push
from jobs.rules.repository_values import Hook
from jobs.rules.triggers import Deploy, Judgement, Push, decide
from jobs.states import CatchUpWay, DeliveryOutcome
from jobs.storage.models import Deployment

# Per check of a repository; the next check handles the rest.
MOST_PAYLOADS = 20
CUT = "GitHub lists more deliveries than are read at once; for older ones the branch was looked at"


def by_deliveries(look: Look, hook: Hook, token: SecretStr) -> Finding:
    """Queue the newest missed push of each app, from GitHub's list or else from its branch.

    Raises:
        GitHubError: GitHub refused, asked for a pause or could not be reached.
        CheckoutError: the git server refuses the token.
        GitError: the git server could not be reached.
    """
    listed = look.means.forge.deliveries(look.address, hook, token, since=_since(look))
    guids = {attempt.guid for attempt in listed.items}
    with look.means.runtime.database.reading() as session:
        seen = on_record(session, look.turn.repository, guids)
    missed = missed_pushes(listed.items, seen)
    taking = Taking(look, hook, token)
    for one in missed[:MOST_PAYLOADS]:
        if taking.is_done:
            break
        taking.take(one)
    found = Finding(
        CatchUpWay.DELIVERIES,
        len(missed),
        joined([_outcome(receipt) for receipt in taking.receipts]),
        queued=tuple(row.id or 0 for receipt in taking.receipts for row in _queued(receipt)),
        is_whole=taking.is_done or len(missed) <= MOST_PAYLOADS,
    )
    if not found.is_whole or taking.is_done:
        return found
    return _with_heads(found, taking, CUT if listed.is_cut else "")


def _since(look: Look) -> datetime:
    turn = look.turn
    first_app_at = min(app.created_at for app in turn.apps)
    return looks_back_to(turn.began_at, settled_until=turn.settled_until, first_app_at=first_app_at)


@dataclass
class Taking:
    """Accepts missed pushes, newest first, until each app has its newest one."""

    look: Look
    hook: Hook
    token: SecretStr
    receipts: list[Receipt] = field(default_factory=list)
    settled: set[int] = field(default_factory=set)  # the ids of apps

    @property
    def is_done(self) -> bool:
        """Whether no app has anything left to catch up on."""
        return self.settled >= {app.id or 0 for app in self.look.turn.apps}

    def take(self, one: MissedPush) -> None:
        """Fetch a missed push's payload, and accept the push as if it had been delivered."""
        forge = self.look.means.forge
        push = self._read(forge.payload(self.look.address, self.hook, one.last, self.token))
        receipt = self._accept(one, push)
        self.receipts.append(receipt)
        self.settled |= {row.app_id for row, _ in receipt.deployments}
        if isinstance(push, Push) and push.deleted:
            # Earlier pushes of a deleted branch do not count any more.
            self.settled |= {a.id or 0 for a in self.look.turn.apps if followed_ref(a) == push.ref}

    def _read(self, payload: object) -> Push | str:
        """Read a push, as deleted if its branch is gone by now; a reason when it is unusable."""
        try:
            push = read_push(payload)
        except ValueError as exc:
            return f"its payload cannot be read: {exc}"
        if self.look.address.github_id not in {None, push.github_id}:
            return f"it is of another repository that is called {push.full_name}"
        if self._is_wanted(push) and self.look.head(push.ref) is None:
            return replace(push, deleted=True, commit_sha="")
        return push

    def _is_wanted(self, push: Push) -> bool:
        waiting = (app for app in self.look.turn.apps if app.id not in self.settled)
        return any(decide(push, rule_of(app)) == Deploy() for app in waiting)

    def _accept(self, one: MissedPush, push: Push | str) -> Receipt:
        envelope = Envelope(one.guid, "push", "", self.look.turn.repository.id)
        database = self.look.means.runtime.database
        if isinstance(push, str):
            reason = f"{one.why}; {push}"
            with database.writing() as session:
                find_repository(session, envelope.repository_id or 0)
                return write_down(session, envelope, DeliveryOutcome.IGNORED, reason)
        missed = Missed(one.at, one.why, frozenset(self.settled))
        judgement = Judgement(push, map(rule_of, self.look.turn.apps))

        def accept() -> Receipt:
            with database.writing() as session:
                repository = find_repository(session, envelope.repository_id or 0)
                note_claim(repository, github_id=push.github_id, full_name=push.full_name)
                return accept_push(session, envelope, judgement, missed=missed)

        return judgement.settle(accept)


def _with_heads(found: Finding, taking: Taking, why: str) -> Finding:
    """Check the branch heads of the apps for which GitHub's list had no push.

    Not every push is on the list: it covers three days, and omits the pushes of a time when the
    webhook was disabled or did not subscribe to pushes. If the branches cannot be read, the pushes
    found in the list still count, and both the list and the branches are checked again soon.
    """
    turn = taking.look.turn
    waiting = tuple(app for app in turn.apps if app.id not in taking.settled)
    older = by_heads(replace(taking.look, turn=replace(turn, apps=waiting)), why)
    if not (why or older.queued or older.is_failure):
        return found
    missed = (found.missed or 0) + (older.missed or 0)
    return replace(
        older,
        way=found.way,
        missed=None if older.is_failure and not missed else missed,
        found="; ".join(each for each in (found.found, older.found) if each),
        queued=(*found.queued, *older.queued),
    )


def _queued(receipt: Receipt) -> list[Deployment]:
    is_news = receipt.outcome is DeliveryOutcome.QUEUED
    return [row for row, _ in receipt.deployments] if is_news else []


def _outcome(receipt: Receipt) -> str:
    if receipt.outcome is not DeliveryOutcome.QUEUED:
        return receipt.reason
    return ", ".join(f"#{row.number} of {app} is queued" for row, app in receipt.deployments)
