"""HTTP on the wire, with a bound: `uvicorn --http receiver.protocol:BoundedHttp`.

uvicorn's fast parser keeps headers of any length before an application sees the first of them (30
MB went through, uvicorn 0.54.0); its slow one is bounded, but answers 400 where 431 is meant.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 64 * 1024
REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedHttp(HttpToolsProtocol):
    """Gives up on a connection that sends and sends and gets nowhere.

    What came since the last complete head, piece of a body or end of a request is what the parser
    may be holding: headers, trailers, or the frame of a chunk.
    """

    _held = 0

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse it when too much of it is still held."""
        self._held += len(data)
        super().data_received(data)
        if self._held > LONGEST_HEAD and not self.transport.is_closing():
            self.transport.write(REFUSAL)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head has an end."""
        self._held = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body has been passed on."""
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has an end."""
        self._held = 0
        super().on_message_complete()
