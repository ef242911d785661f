"""HTTP on the wire, with a bound: `uvicorn --http receiver.protocol:BoundedHttp`.

uvicorn's fast parser keeps headers of any length before an application sees the first of them (30
MB went through, uvicorn 0.54.0); its slow one is bounded, but answers 400 where 431 is meant.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 64 * 1024
HEAD_WITHIN_S = 10.0
TOO_LONG, TOO_SLOW = "431 Request Header Fields Too Large", "408 Request Timeout"


class BoundedHttp(HttpToolsProtocol):
    """Gives up on a connection that sends and sends and gets nowhere.

    What came since the last complete head, piece of a body or end of a request is what the parser
    may be holding: headers, trailers, or the frame of a chunk. A head must come within a time: as
    many connections as we bear, each with a head that never ends, would keep everybody else out.
    """

    head_within_s = HEAD_WITHIN_S
    _held = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_awaiting_head()
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

    def _refuse(self, status: str) -> None:
        if not self.transport.is_closing():
            refusal = f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(refusal.encode())
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
