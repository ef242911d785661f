"""HTTP on the wire, with a bound: `uvicorn --http receiver.protocol:BoundedHttp`.

uvicorn's fast parser keeps headers of any length before an application sees the first of them (30
MB went through, uvicorn 0.54.0); its slow one is bounded, but answers 400 where 431 is meant.
"""

import asyncio
import json
import socket
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.errors import HeadersTooLargeError, RequestError, TooSlowError, error_body

LONGEST_HEAD = 64 * 1024
HEAD_WITHIN_S = 10.0
LOOK_EVERY_S = 30.0
# What the kernel may keep that is not on its way yet. It would keep megabytes, and whoever reads
# those slowly would look to us like somebody who does not read at all.
MOST_UNSENT = 64 * 1024


def refusal(error: RequestError) -> bytes:
    """Give the whole answer to what never became a request."""
    status = HTTPStatus(error.http_status)
    body = json.dumps(error_body(error.code, str(error)))
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    )
    return "\r\n".join([*head, "", body]).encode()


TOO_LONG = refusal(HeadersTooLargeError("the address and the headers are too long; send less"))
TOO_SLOW = refusal(TooSlowError("the request did not come in time"))


class CountingTransport:
    """A transport that knows how much it was given to send."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written = 0  # bytes

    def write(self, data: bytes) -> None:
        """Send it, unless the connection is over.

        Of several requests at once uvicorn tells only the last one so, and the others go on.
        """
        if not self._transport.is_closing():
            self.written += len(data)
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 — whatever a transport has
        return getattr(self._transport, name)


class BoundedHttp(HttpToolsProtocol):
    """Gives up on a connection that sends and sends and gets nowhere, or that does not read.

    What came since the last complete head, piece of a body or end of a request is what the parser
    may be holding: headers, trailers, or the frame of a chunk. A head must come within a time: as
    many connections as we bear, each with a head that never ends, would keep everybody else out.
    So would as many whose answers nobody reads: a connection stays until all of them have left,
    even when it is closed. It is cut when nothing has left from one look to the next.
    """

    head_within_s = HEAD_WITHIN_S
    look_every_s = LOOK_EVERY_S
    _held = 0
    _head_timer: asyncio.TimerHandle | None = None
    _look_timer: asyncio.TimerHandle | None = None
    # How many bytes had left at the last look, if others were waiting to.
    _left_then: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head, and to look whether the answers are read."""
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT)
        self._counting = CountingTransport(transport)
        super().connection_made(cast(asyncio.Transport, self._counting))
        self._await_head()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_awaiting_head()
        if self._look_timer is not None:
            self._look_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse it when too much of it is still held."""
        self._held += len(data)
        super().data_received(data)
        if self._held > LONGEST_HEAD:
            self._refuse(TOO_LONG)
        elif self.cycle is None or self.cycle.response_complete:
            self._await_head()

    def _await_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.head_within_s, self._refuse, TOO_SLOW)

    def _stop_awaiting_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _look_later(self) -> None:
        self._look_timer = self.loop.call_later(self.look_every_s, self._look_whether_it_is_read)

    def _look_whether_it_is_read(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        left = self._counting.written - waiting if waiting else None
        if left is not None and left == self._left_then:
            self.transport.abort()
            return
        self._left_then = left
        self._look_later()

    def _refuse(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head has an end."""
        self._held = 0
        self._stop_awaiting_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body has been passed on."""
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has an end."""
        self._held = 0
        super().on_message_complete()
