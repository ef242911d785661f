"""Counts refused deliveries in memory, and writes the counts to the database every few seconds.

Anybody may send deliveries at any rate. So similar ones are counted together, in a bounded number
of kinds, and the database is written to at a fixed rate. A kill loses the last few seconds.

A refused delivery is analysed only after its answer was sent, so the time of the answer reveals
nothing about it.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import DBAPIError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.errors import StorageError
from jobs.records.refusals import Refused, configured_names, keep_refusals
from jobs.states import REFUSAL_WORDS, Refusal
from jobs.storage.database import Database
from jobs.storage.models import now
from receiver.claims import find_claim
from receiver.connections import NO_ROOM
from receiver.errors import FORM
from receiver.proxies import neighbourhood
from receiver.signature import is_well_formed
from receiver.webhook_path import is_delivery

logger = logging.getLogger(__name__)

WRITTEN_EVERY_S = 5.0
TOLD_EVERY_S = 60.0
MOST_TOLD = 5
# Bytes of a body that are kept: GitHub sends `repository` in the first two kilobytes of a push,
# before its commits.
LONGEST_LOOK = 64 * 1024
# How long to wait for the body's beginning, which mostly comes in one packet with the head.
BEGINNING_WITHIN_S = 0.01
# Kinds of refused deliveries that are counted separately between two writes.
MOST_KINDS = 500
MOST_KINDS_OF_ADDRESS = 20
FIRST_ERROR = 400
UNAUTHORIZED = 401
BROKEN = 500
REASONS: Mapping[int, Refusal] = {
    400: Refusal.INVALID_PAYLOAD,
    408: Refusal.TOO_SLOW,
    413: Refusal.TOO_LARGE,
    415: Refusal.WRONG_TYPE,
    431: Refusal.TOO_LARGE,
}

Kind = tuple[str, str, Refusal]  # name of a configured repository or empty, address, reason


@dataclass
class _Tally:
    claimed: str
    github_id: int | None
    first_at: datetime
    last_at: datetime
    count: int = 0


class Refusals:
    """Counts refused deliveries and stores the counts; belongs to one event loop."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._tallies: dict[Kind, _Tally] = {}
        self._of_address: Counter[str] = Counter()
        self._configured: frozenset[str] | None = None  # None: not known yet
        self._writing = CapacityLimiter(1)
        self._untold: Counter[str] = Counter()
        self._told_at = -TOLD_EVERY_S

    def note(self, refused: Refused) -> None:
        """Add a refusal to the counts."""
        claimed = refused.claimed.lower()
        is_configured = self._configured is None or claimed in self._configured
        name = claimed if is_configured else ""
        kind = (name, refused.address, refused.reason)
        is_full = len(self._tallies) >= MOST_KINDS
        if kind not in self._tallies and (
            is_full or self._of_address[refused.address] >= MOST_KINDS_OF_ADDRESS
        ):
            kind = (name, "", refused.reason)
        if kind not in self._tallies:
            self._tallies[kind] = _Tally("", None, refused.first_at, refused.last_at)
            self._of_address[kind[1]] += 1
        tally = self._tallies[kind]
        tally.claimed, tally.github_id = refused.claimed, refused.github_id
        tally.last_at, tally.count = refused.last_at, tally.count + refused.count

    async def keep(self) -> None:
        """Store the counts every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(WRITTEN_EVERY_S)
            await self.write_down()
            self._tell()

    async def write_down(self) -> None:
        """Store the counts; if that fails, keep them for the next time."""
        gathered = self._take()
        if not gathered:
            return
        try:
            await to_thread.run_sync(self._write, gathered, limiter=self._writing)
        except (StorageError, DBAPIError) as exc:
            cause = exc if isinstance(exc, StorageError) else type(exc).__name__
            logger.warning(
                "refusals not written: %s", cause, extra={"action": "refusals_not_written"}
            )
            for refused in gathered:
                self.note(refused)
            return
        for one in gathered:
            self._untold[_in_words(one)] += one.count

    def _take(self) -> list[Refused]:
        gathered = [
            Refused(address=address, reason=reason, **vars(tally))
            for (_, address, reason), tally in self._tallies.items()
        ]
        self._tallies, self._of_address = {}, Counter()
        return gathered

    def _write(self, gathered: list[Refused]) -> None:
        with self._database.writing() as session:
            keep_refusals(session, gathered)
        with self._database.reading() as session:
            self._configured = configured_names(session)

    def _tell(self) -> None:
        """Log the refusals since the last such line, at most one line a minute."""
        if not self._untold or self._clock() - self._told_at < TOLD_EVERY_S:
            return
        words = [f"{told} ({count})" for told, count in self._untold.most_common(MOST_TOLD)]
        logger.warning(
            "Deliveries refused: %d; mostly %s",
            self._untold.total(),
            "; ".join(words),
            extra={"action": "deliveries_refused"},
        )
        self._untold, self._told_at = Counter(), self._clock()


def _in_words(one: Refused) -> str:
    """Describe a refusal; names and addresses contain nothing that could mislead a reader."""
    claimed = f" in the name of {one.claimed}" if one.claimed else ""
    return f"{REFUSAL_WORDS[one.reason]}{claimed}, from {one.address or 'several addresses'}"


class NoteRefusals:
    """Passes deliveries on, and notes the refused ones after their answer."""

    def __init__(self, app: ASGIApp, *, refusals: Refusals) -> None:
        self.app, self._refusals = app, refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not is_delivery(scope):
            await self.app(scope, receive, send)
            return
        seen = _Seen(scope, receive, send)
        try:
            await self.app(scope, seen.receive, seen.send)
        except Exception:
            seen.status = BROKEN
            raise
        finally:
            if seen.status >= FIRST_ERROR:
                # Not now: the answer may not be sent yet.
                asyncio.get_running_loop().call_soon(self._note, seen)

    def _note(self, seen: "_Seen") -> None:
        self._refusals.note(seen.refused())


class _Seen:
    """Records the beginning of a delivery's body, and the status of its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.status = 0
        self._scope, self._receive, self._send = scope, receive, send
        self._begin = bytearray()
        self._is_cut_short = False

    async def receive(self) -> Message:
        """Receive a message, and keep the beginning of the body."""
        message = await self._receive()
        body = message.get("body", b"")
        self._begin += body[: LONGEST_LOOK - len(self._begin)]
        self._is_cut_short = self.status == 0 and message["type"] == "http.disconnect"
        return message

    async def send(self, message: Message) -> None:
        """Send a message, and keep the status."""
        status = message.get("status", self.status)
        if status == UNAUTHORIZED and not self._begin:
            await self._look_at_beginning()
        self.status = status
        await self._send(message)

    async def _look_at_beginning(self) -> None:
        """Read the beginning of a body that was refused unread, since it names the repository."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BEGINNING_WITHIN_S):
                await self.receive()

    def refused(self) -> Refused:
        """Give the refusal, with the claimed repository and the reason."""
        headers = Headers(scope=self._scope)
        is_form = headers.get("content-type", "").lower().startswith(FORM)
        claim = find_claim(bytes(self._begin), headers, is_form=is_form)
        client, moment = self._scope.get("client"), now()
        return Refused(
            claimed=claim.full_name,
            github_id=claim.github_id,
            address=neighbourhood(client[0])[:64] if client else "",
            reason=self._reason(headers),
            count=1,
            first_at=moment,
            last_at=moment,
        )

    def _reason(self, headers: Headers) -> Refusal:
        if self._scope.get("state", {}).get(NO_ROOM):
            return Refusal.BUSY
        if self.status == UNAUTHORIZED:
            return _reason_of_signature(headers.getlist("x-hub-signature-256"))
        if self._is_cut_short:
            return Refusal.CUT_SHORT
        return REASONS.get(self.status, Refusal.BUSY)


def _reason_of_signature(given: list[str]) -> Refusal:
    if not given:
        return Refusal.MISSING_SIGNATURE
    is_one = len(given) == 1 and is_well_formed(given[0])
    return Refusal.WRONG_SIGNATURE if is_one else Refusal.MALFORMED_SIGNATURE
