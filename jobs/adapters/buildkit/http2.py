"""A gRPC server on a single connection with reversed roles: the engine calls, we answer.

Everything runs on one event loop, so no locks are needed. HTTP/2's flow control limits the memory:
a stream without send window waits, and received data is acknowledged only after it was used.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md (read 2026-11-20).
"""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

OK, UNKNOWN, NOT_FOUND, UNIMPLEMENTED = 0, 2, 5, 12  # gRPC's status codes that we use
PREFIX = 5  # bytes before each message: a flag and the length
LONGEST_REQUEST = 256 * 1024  # bytes; the engine's messages have a few dozen
WINDOW = 1024 * 1024  # bytes; the flow-control window for data from the engine
LONGEST_HEADERS = 1024 * 1024  # bytes; the engine sends the lines of .dockerignore as headers
BATCH = 64 * 1024  # bytes of messages that are buffered before they are sent
READ = 256 * 1024  # bytes

Metadata = dict[str, list[str]]


class HungUpError(Exception):
    """The engine closed the connection in the middle of a call."""


class RpcError(Exception):
    """A call that is answered with a status other than OK; the build itself may continue."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class Stream:
    """One call by the engine: its metadata, the messages it sends, and our answers."""

    def __init__(self, connection: "GrpcConnection", stream_id: int, metadata: Metadata) -> None:
        self.metadata = metadata
        self.changed = asyncio.Event()  # set when data has arrived or the send window has grown
        self.ended = False
        self._connection = connection
        self._h2 = connection.h2
        self._id = stream_id
        self._incoming = bytearray()
        self._outgoing = bytearray()

    @property
    def method(self) -> str:
        """The full name of the called method: "/package.Service/Method"."""
        return self.metadata[":path"][0]

    def feed(self, data: bytes) -> None:
        """Store data that has arrived for this call."""
        self._incoming += data
        self.changed.set()

    async def receive(self) -> bytes | None:
        """Send the buffered messages, then give the next message; None at the end of the stream.

        Raises:
            RpcError: the message is too long.
        """
        await self.flush()
        while (size := self._incoming_size()) > len(self._incoming):
            if self.ended:
                return None
            await self._change()
        message = bytes(self._incoming[PREFIX:size])
        del self._incoming[:size]
        self._h2.acknowledge_received_data(size, self._id)
        await self._connection.transmit()
        return message

    async def send(self, message: bytes) -> None:
        """Send a message, or buffer it until there is a whole batch."""
        self._outgoing += b"\0" + len(message).to_bytes(4, "big") + message
        if len(self._outgoing) >= BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Send all buffered messages, as fast as the engine accepts them."""
        while self._outgoing:
            room = min(
                self._h2.local_flow_control_window(self._id), self._h2.max_outbound_frame_size
            )
            if room <= 0:
                await self._change()
                continue
            self._h2.send_data(self._id, bytes(self._outgoing[:room]))
            del self._outgoing[:room]
            await self._connection.transmit()

    async def finish(self, code: int, message: str = "") -> None:
        """End the call with a status."""
        await self.flush()
        trailers = [("grpc-status", str(code)), ("grpc-message", quote(message[:1000]))]
        self._h2.send_headers(self._id, trailers, end_stream=True)
        await self._connection.transmit()

    async def _change(self) -> None:
        self.changed.clear()
        await self.changed.wait()

    def _incoming_size(self) -> int:
        """Give the size of the incoming message with its prefix, or of the prefix until known."""
        if len(self._incoming) < PREFIX:
            return PREFIX
        size = PREFIX + int.from_bytes(self._incoming[1:PREFIX], "big")
        if size > LONGEST_REQUEST or self._incoming[0]:
            raise RpcError(UNIMPLEMENTED, "the message is too long or compressed")
        return size


class GrpcConnection:
    """Serves every call of one connection.

    Attributes:
        failure: the first error on our side that ended a call, if any.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handle: Callable[[Stream], Awaitable[None]],
    ) -> None:
        self.failure: BaseException | None = None
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._reader = reader
        self._writer = writer
        self._handle = handle
        self._streams: dict[int, Stream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Answer calls until the engine disconnects or the task is cancelled; then cancel them."""
        try:
            await self._greet()
            while data := await self._reader.read(READ):
                for event in self.h2.receive_data(data):
                    self._react(event)
                await self.transmit()
        except (ProtocolError, HungUpError, OSError):
            # The engine notices the lost session, and its answer to the build request says so.
            return
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def transmit(self) -> None:
        """Send h2's pending output; wait while the socket's buffer is full."""
        data = self.h2.data_to_send()
        if data:
            self._writer.write(data)
            try:
                await self._writer.drain()
            except OSError as exc:
                raise HungUpError from exc

    async def _greet(self) -> None:
        # The order matters: the preface carries the default settings, and later settings win.
        self.h2.initiate_connection()
        self.h2.update_settings(
            {
                SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: LONGEST_HEADERS,
            }
        )
        self.h2.increment_flow_control_window(WINDOW)
        await self.transmit()

    def _react(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._begin(event)
            case DataReceived():
                self._take(event)
            case StreamEnded():
                self._end(event.stream_id)
            case StreamReset():
                self._cancel(event.stream_id)
            case WindowUpdated() | RemoteSettingsChanged():
                for stream in self._streams.values():
                    stream.changed.set()

    def _begin(self, event: RequestReceived) -> None:
        stream = Stream(self, event.stream_id, _metadata(event))
        task = asyncio.create_task(self._answer(stream, event.stream_id))
        self._streams[event.stream_id], self._tasks[event.stream_id] = stream, task
        task.add_done_callback(lambda task: self._forget(event.stream_id, task))

    async def _answer(self, stream: Stream, stream_id: int) -> None:
        head = [(":status", "200"), ("content-type", "application/grpc")]
        self.h2.send_headers(stream_id, head)
        try:
            await self._handle(stream)
        except RpcError as exc:
            await stream.finish(exc.code, str(exc))
        else:
            await stream.finish(OK)

    def _take(self, event: DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        size = event.flow_controlled_length
        unused = size if stream is None else size - len(event.data)
        if unused:
            self.h2.acknowledge_received_data(unused, event.stream_id)
        if stream is not None:
            stream.feed(event.data)

    def _end(self, stream_id: int) -> None:
        if stream := self._streams.get(stream_id):
            stream.ended = True
            stream.changed.set()

    def _cancel(self, stream_id: int) -> None:
        if task := self._tasks.get(stream_id):
            task.cancel()

    def _forget(self, stream_id: int, task: asyncio.Task[None]) -> None:
        """Remove an ended call. If it raised an error without sending a status, disconnect.

        The engine then fails the build at once instead of waiting for an answer.
        """
        del self._streams[stream_id], self._tasks[stream_id]
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, ProtocolError | HungUpError):
            self.failure = self.failure or error
        self._writer.close()


def _metadata(event: RequestReceived) -> Metadata:
    metadata: Metadata = {}
    for name, value in event.headers:
        key = bytes(name).decode(errors="replace")
        metadata.setdefault(key, []).append(bytes(value).decode(errors="surrogateescape"))
    return metadata
