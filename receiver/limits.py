"""How much a request may ask of us before anybody has looked at it: plain ASGI classes.

Headers, body size, body time, and the bodies in memory at once. What is not a request yet is
bounded by `receiver.protocol`.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.connections import NO_ROOM, Bounds
from receiver.errors import (
    BusyError,
    HeadersTooLargeError,
    MediaTypeError,
    RequestError,
    TooLargeError,
    TooSlowError,
    answer_error,
)
from receiver.proxies import neighbourhood
from receiver.webhook_path import WEBHOOK, is_delivery

KIB = 1024
MIB = 1024 * KIB
LONGEST_HEADERS = 32 * 1024
MOST_HEADERS = 100
LARGEST_BODY = MIB
# GitHub sends no payload above 25 MB at all. At the login anybody may have a body read.
LARGEST_BODIES: Mapping[str, int] = {WEBHOOK: 25 * MIB, "/login": 16 * KIB}
BODY_DEADLINE_S = 8.0
# Of one address here, too: behind a trusted proxy it is not known to the pool of connections.
MOST_DELIVERIES_AT_ONCE, MOST_DELIVERIES_OF_ONE = Bounds().deliveries, Bounds().deliveries_of_one
MOST_BYTES_AT_ONCE = 256 * MIB
MOST_BYTES_OF_ONE = 64 * MIB


class Slashes:
    """Sends an address with a slash at its end to the same one without; GitHub is not sent on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect with 308, which keeps method and body, or pass the request on."""
        path = scope.get("path", "/")
        if scope["type"] != "http" or path == "/" or not path.endswith("/"):
            await self.app(scope, receive, send)
            return
        if is_delivery(scope):
            # GitHub follows no redirect. From here on it is the one address that others know.
            await self.app({**scope, "path": WEBHOOK, "raw_path": WEBHOOK.encode()}, receive, send)
            return
        # One slash at the beginning: two would make the browser leave for another host.
        url = Request(scope).url
        target = "/" + url.path.strip("/\\") + (f"?{url.query}" if url.query else "")
        await RedirectResponse(target, status_code=308)(scope, receive, send)


class HeaderLimits:
    """Refuses what there is no room for, headers beyond any honest client's, compressed bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503, 431 or 415, or pass the request on."""
        if scope["type"] == "http" and (error := _wrong_with(scope)):
            await answer_error(Request(scope), error)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _wrong_with(scope: Scope) -> RequestError | None:
    if scope.get("state", {}).get(NO_ROOM):
        return BusyError("too many requests at once; try again")
    headers = scope["headers"]
    size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    size += sum(len(name) + len(value) for name, value in headers)
    if size > LONGEST_HEADERS or len(headers) > MOST_HEADERS:
        return HeadersTooLargeError("the request's address and headers are too long")
    if any(name == b"content-encoding" for name, _ in headers):
        return MediaTypeError("send the body as it is, without a Content-Encoding")
    return None


class BodyLimits:
    """Lets a body in up to a size, and within a time, from its first byte asked for to its last.

    A declared size is judged at once. What streams is judged as it comes: whoever reads the body
    gets the error.
    """

    def __init__(self, app: ASGIApp, *, deadline_s: float = BODY_DEADLINE_S) -> None:
        self.app = app
        self.deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a `receive` that gives up in time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = LARGEST_BODIES.get(scope["path"], LARGEST_BODY)
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or len(declared) > len(str(most)) or int(declared) > most:
            await answer_error(Request(scope), _too_large(most))(scope, receive, send)
            return
        body = _Body(receive, most, self.deadline_s)
        await self.app(scope, body.receive, send)


class _Body:
    def __init__(self, receive: Receive, most: int, deadline_s: float) -> None:
        self._receive = receive
        self._most = most
        self._deadline_s = deadline_s
        self._deadline: float | None = None
        self._size = 0
        self._is_complete = False

    async def receive(self) -> Message:
        """Give the next piece.

        Raises:
            TooSlowError: the whole body has not come in time.
            TooLargeError: it is larger than allowed.
        """
        if self._is_complete:  # from here on it is the disconnect that is waited for
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._deadline_s
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise TooSlowError(f"the body took more than {self._deadline_s:g} s") from None
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise _too_large(self._most)
        self._is_complete = not message.get("more_body", False)
        return message


def _too_large(most: int) -> TooLargeError:
    told = f"{most // MIB} MiB" if most >= MIB else f"{most // KIB} KiB"
    return TooLargeError(f"the body is larger than {told}")


class DeliverySlots:
    """Bounds the deliveries in work at once, and the memory their bodies take together.

    A delivery takes a place once its body has arrived. Until then it only holds memory: no more
    than one address may hold, and the largest of them is evicted when another delivery needs that
    memory, since a push is small.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        most_deliveries: int = MOST_DELIVERIES_AT_ONCE,
        most_deliveries_of_one: int = MOST_DELIVERIES_OF_ONE,
        most_bytes: int = MOST_BYTES_AT_ONCE,
        most_bytes_of_one: int = MOST_BYTES_OF_ONE,
    ) -> None:
        self.app = app
        self._free = most_deliveries
        self._most_of_one = most_deliveries_of_one
        self._room = most_bytes
        self._most_bytes_of_one = most_bytes_of_one
        self._deliveries: Counter[str] = Counter()  # that have arrived whole, by address
        self._bytes: Counter[str] = Counter()  # by address
        self._arriving: set[_Place] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503 when there is no room, or pass the delivery on."""
        if scope["type"] != "http" or scope["path"] != WEBHOOK:
            await self.app(scope, receive, send)
            return
        place = _Place(neighbourhood(scope["client"][0]) if scope.get("client") else "")

        async def receive_into_room() -> Message:
            if place.is_whole:
                return await receive()
            message = await _receive_unless_evicted(place, receive)
            if message["type"] == "http.request":
                self._make_room(place, message)
            return message

        self._arriving.add(place)
        try:
            await self.app(scope, receive_into_room, send)
        finally:
            self._give_back(place)

    def _make_room(self, place: "_Place", message: Message) -> None:
        size = len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if is_whole and not (self._free and self._deliveries[place.address] < self._most_of_one):
            raise _busy()
        while self._bytes[place.address] + size > self._most_bytes_of_one:
            of_one = [other for other in self._arriving if other.address == place.address]
            self._evict_larger(of_one, place.bytes + size)
        while size > self._room:
            self._evict_larger(self._arriving, place.bytes + size)
        self._take(place, size, is_whole=is_whole)

    def _evict_larger(self, arriving: "Iterable[_Place]", size: int) -> None:
        """Evict the largest of some deliveries for a body of a size.

        Raises:
            BusyError: none of them is larger than that.
        """
        largest = max(arriving, key=lambda place: place.bytes, default=None)
        if largest is None or largest.bytes <= size:
            raise _busy()
        self._give_back(largest)
        largest.evict()

    def _take(self, place: "_Place", size: int, *, is_whole: bool) -> None:
        self._room -= size
        self._bytes[place.address] += size
        place.bytes += size
        if is_whole:
            self._free -= 1
            self._deliveries[place.address] += 1
            self._arriving.discard(place)
            place.is_whole = True

    def _give_back(self, place: "_Place") -> None:
        self._arriving.discard(place)
        self._room += place.bytes
        self._bytes[place.address] -= place.bytes
        self._free += place.is_whole
        self._deliveries[place.address] -= place.is_whole
        place.bytes, place.is_whole = 0, False
        for counter in (self._bytes, self._deliveries):
            if not counter[place.address]:
                del counter[place.address]


def _busy() -> BusyError:
    return BusyError("too many deliveries at once; send this one again")


@dataclass(eq=False)
class _Place:
    """What one delivery takes of what there is for all of them."""

    address: str
    bytes: int = 0
    is_whole: bool = False
    is_evicted: bool = False
    waits: asyncio.Timeout | None = None  # for more of its body

    def evict(self) -> None:
        """Have the wait for the rest of the body end at once."""
        self.is_evicted = True
        if self.waits is not None:
            self.waits.reschedule(0)


async def _receive_unless_evicted(place: _Place, receive: Receive) -> Message:
    """Receive the next piece of a body.

    Raises:
        BusyError: the memory was needed for another delivery.
    """
    if place.is_evicted:
        raise _busy()
    try:
        async with asyncio.timeout(None) as place.waits:
            return await receive()
    except TimeoutError:
        raise _busy() from None
    finally:
        place.waits = None
