"""How much a request may ask of us before anybody has looked at it: plain ASGI classes.

Headers, body size, body time, and the bodies in memory at once. What is not a request yet is
bounded by `receiver.protocol`.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.errors import (
    BusyError,
    HeadersTooLargeError,
    MediaTypeError,
    RequestError,
    TooLargeError,
    TooSlowError,
    answer_error,
)

MIB = 1024 * 1024
LONGEST_HEADERS = 32 * 1024
MOST_HEADERS = 100
LARGEST_BODY = MIB
# GitHub sends no payload above 25 MB at all.
LARGEST_BODIES: Mapping[str, int] = {"/webhooks/github": 25 * MIB}
BODY_DEADLINE_S = 8.0
MOST_DELIVERIES_AT_ONCE = 64
MOST_BYTES_AT_ONCE = 256 * MIB
MOST_BYTES_OF_ONE = 64 * MIB  # from one address


class Slashes:
    """Sends an address with a slash at its end to the same one without."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect with 308, which keeps method and body, or pass the request on."""
        path = scope.get("path", "/")
        if scope["type"] != "http" or path == "/" or not path.endswith("/"):
            await self.app(scope, receive, send)
            return
        # One slash at the beginning: two would make the browser leave for another host.
        url = Request(scope).url
        target = "/" + url.path.strip("/\\") + (f"?{url.query}" if url.query else "")
        await RedirectResponse(target, status_code=308)(scope, receive, send)


class HeaderLimits:
    """Refuses headers that are longer or more than any honest client's, and compressed bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 431 or 415, or pass the request on."""
        if scope["type"] == "http" and (error := _wrong_with_headers(scope)):
            await answer_error(Request(scope), error)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _wrong_with_headers(scope: Scope) -> RequestError | None:
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
    return TooLargeError(f"the body is larger than {most // MIB} MiB")


class DeliverySlots:
    """Bounds the deliveries in work at once, and the memory their bodies take together.

    A place is taken by what has arrived whole: a stranger who sends slowly holds memory only, and
    never more of it than one address may.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        most_deliveries: int = MOST_DELIVERIES_AT_ONCE,
        most_bytes: int = MOST_BYTES_AT_ONCE,
        most_bytes_of_one: int = MOST_BYTES_OF_ONE,
    ) -> None:
        self.app = app
        self._free = most_deliveries
        self._room = most_bytes
        self._most_of_one = most_bytes_of_one
        self._taken: Counter[str] = Counter()  # bytes, by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503 when there is no room, or pass the delivery on."""
        if scope["type"] != "http" or scope["path"] not in LARGEST_BODIES:
            await self.app(scope, receive, send)
            return
        place = _Place(scope["client"][0] if scope.get("client") else "")

        async def receive_into_room() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not place.is_taken:
                self._make_room(place, message)
            return message

        try:
            await self.app(scope, receive_into_room, send)
        finally:
            self._give_back(place)

    def _make_room(self, place: "_Place", message: Message) -> None:
        size = len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        is_greedy = self._taken[place.address] + size > self._most_of_one
        if size > self._room or is_greedy or (is_whole and self._free == 0):
            raise BusyError("too many deliveries at once; send this one again")
        self._room -= size
        self._taken[place.address] += size
        place.bytes += size
        if is_whole:
            self._free -= 1
            place.is_taken = True

    def _give_back(self, place: "_Place") -> None:
        self._free += place.is_taken
        self._room += place.bytes
        self._taken[place.address] -= place.bytes
        if not self._taken[place.address]:
            del self._taken[place.address]


@dataclass
class _Place:
    """What one delivery takes of what there is for all of them."""

    address: str
    bytes: int = 0
    is_taken: bool = False  # it has arrived whole
