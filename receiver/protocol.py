"""uvicorn's HTTP protocol with limits: `uvicorn --http receiver.protocol:BoundedHttp`.

uvicorn's fast parser buffers headers of any length before it calls the application (30 MB were
accepted, uvicorn 0.54.0). Its slow parser has a limit, but answers 400 where 431 would be right.
"""

import asyncio
import json
import socket
from http import HTTPStatus
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from receiver.connections import NO_ROOM, POOL, Pool, Share
from receiver.errors import (
    BusyError,
    HeadersTooLargeError,
    PayloadError,
    RequestError,
    TooSlowError,
    error_body,
)
from receiver.webhook_path import is_delivery

LONGEST_HEAD = 64 * 1024
HEAD_WITHIN_S = 10.0
LOOK_EVERY_S = 30.0
# Bytes. A client that takes less than this between two checks counts as not reading: about half a
# kilobyte a second.
LEAST_READ = 16 * 1024
# Pipelined requests that may wait for the one being answered. Hundreds fit into one packet, and
# each takes some kilobytes.
MOST_AHEAD = 16
# Bytes that the kernel may buffer unsent. Its default is megabytes, and while a client slowly reads
# those, it would look to us as if it did not read at all.
MOST_UNSENT = 64 * 1024
# When the server stops, a new connection may stay open for this long, because its first request may
# be on its way. The router could not repeat every request.
FIRST_REQUEST_WITHIN_S = 0.3


def refusal(error: RequestError) -> bytes:
    """Give the whole answer, as bytes, to input that did not become a request."""
    status = HTTPStatus(error.http_status)
    body = json.dumps(error_body(error.code, str(error)))
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        *(f"{name}: {value}" for name, value in error.headers.items() if name != "connection"),
    )
    return "\r\n".join([*head, "", body]).encode()


NOT_HTTP = refusal(PayloadError("this is not HTTP, or too many requests at once"))
NO_PLACE = refusal(BusyError("too many connections; send this one again"))
TOO_LONG = refusal(HeadersTooLargeError("the address and the headers are too long; send less"))
TOO_SLOW = refusal(TooSlowError("the request did not come in time"))


class CountingTransport:
    """A transport that counts the bytes it was given to send."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written = 0  # bytes

    def write(self, data: bytes) -> None:
        """Send data, unless the connection is closing.

        Of several pipelined requests uvicorn tells only the last one about the disconnect, so the
        others still write.
        """
        if not self._transport.is_closing():
            self.written += len(data)
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 — any attribute of a transport
        return getattr(self._transport, name)


class BoundedHttp(HttpToolsProtocol):
    """A connection with limits on memory and time.

    The parser may buffer everything received since the last complete head, piece of a body or end
    of a request: headers, trailers, or the frame of a chunk. The size of that is bounded, and a
    head must arrive before a deadline. A connection stays open until its answers are sent, even
    when it is closing; it is aborted when the client reads hardly anything between two checks. The
    `Pool` decides everything else.
    """

    head_within_s = HEAD_WITHIN_S
    look_every_s = LOOK_EVERY_S
    _held = 0
    _head_timer: asyncio.TimerHandle | None = None
    _look_timer: asyncio.TimerHandle | None = None
    # Bytes sent by the last check; None if nothing was waiting to be sent.
    _left_then: int | None = None
    # These two belong to the request that is being handled.
    _share: Share | None = None
    _cycle: RequestResponseCycle | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if POOL not in app_state:
            app_state[POOL] = Pool()
        self.pool: Pool = app_state[POOL]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline for a head, and the checks whether the client reads the answers."""
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT)
        self._counting = CountingTransport(transport)
        super().connection_made(cast(asyncio.Transport, self._counting))
        self._await_head()
        self._look_later()
        self.pool.open(self, self.client[0] if self.client else "")

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, and tell the pool."""
        self.pool.close(self)
        self._stop_awaiting_head()
        if self._look_timer is not None:
            self._look_timer.cancel()
        super().connection_lost(exc)

    def evict(self) -> None:
        """Close at once: another connection needs the slot."""
        if self._cycle is not None:
            self._cycle.scope["state"][NO_ROOM] = True
        is_leaving = self.transport.is_closing() or self.transport.get_write_buffer_size()
        if self._is_being_answered or is_leaving:
            self.transport.abort()
        elif self._held or self._is_receiving:
            self._refuse(NO_PLACE)
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """Close the connection after its request, since the server is stopping."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle is None:
            self.loop.call_later(FIRST_REQUEST_WITHIN_S, super().shutdown)
        else:
            super().shutdown()

    # --- Receiving

    def data_received(self, data: bytes) -> None:
        """Parse the data, and refuse it when the parser may be buffering too much."""
        self._held += len(data)
        super().data_received(data)
        if self._held > LONGEST_HEAD:
            self._refuse(TOO_LONG)
        elif self.cycle is None or self.cycle.response_complete:
            self._await_head()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 — our message says what to do
        """Refuse input that the parser rejects; abort when an answer has begun already."""
        if self._is_being_answered:
            self.transport.abort()
        else:
            self._refuse(NOT_HTTP)

    def _await_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.head_within_s, self._refuse, TOO_SLOW)

    def _stop_awaiting_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Handle the end of a head.

        Raises:
            ValueError: too many requests are waiting; this stops the parser at once.
        """
        self._held = 0
        self._stop_awaiting_head()
        if len(self.pipeline) >= MOST_AHEAD:
            raise ValueError("too many requests at once")
        super().on_headers_complete()
        # uvicorn would add trailers to the request's headers, and no proxy has checked those.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Handle a piece of the body."""
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Handle the end of a request."""
        self._held = 0
        super().on_message_complete()
        if self._share is not None and not self._is_receiving:
            self.pool.received(self._share)

    @property
    def _is_receiving(self) -> bool:
        return self._cycle is not None and self._cycle.more_body

    @property
    def _is_being_answered(self) -> bool:
        return self._cycle is not None and self._cycle.response_started

    # --- Handling

    def _start_asgi_task(
        self,
        cycle: RequestResponseCycle,
        app: Any,  # noqa: ANN401 — uvicorn has no public name for its type
    ) -> None:
        """Handle a request in a slot; without a free slot the application answers with an error."""
        self._cycle = cycle
        self._share = self.pool.start(
            self,
            is_delivery=is_delivery(cycle.scope),
            is_whole=not cycle.more_body,
            visitor=self.pool.router.visitor(cycle.scope),
        )
        if self._share is None:
            cycle.scope["state"][NO_ROOM] = True
            cycle.keep_alive = False
            super()._start_asgi_task(cycle, app)
        else:
            super()._start_asgi_task(cycle, _in_its_place(app, self.pool, self._share))

    def on_response_complete(self) -> None:
        """Release the request's slot: the answer is complete, and the next request may begin."""
        self._cycle = None
        if self._share is not None:
            self.pool.end(self._share)
            self._share = None
        super().on_response_complete()

    # --- Sending

    def _look_later(self) -> None:
        self._look_timer = self.loop.call_later(self.look_every_s, self._look_whether_it_is_read)

    def _look_whether_it_is_read(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        left = self._counting.written - waiting if waiting else None
        if left is not None and self._left_then is not None and left - self._left_then < LEAST_READ:
            self.transport.abort()
            return
        self._left_then = left
        self._look_later()


def _in_its_place(app: ASGIApp, pool: Pool, share: Share) -> Any:  # noqa: ANN401 — as above
    """Wrap the application for one request, so that it releases the request's slot at its end.

    A client that disconnects does not release the slot earlier, because the work goes on.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        finally:
            pool.end(share)

    return handle
