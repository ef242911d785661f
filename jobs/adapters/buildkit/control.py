"""BuildKit's control service, which has options that the engine's `POST /build` lacks.

A connection to `POST /grpc` is upgraded to gRPC, with us as the client: `Solve` runs the build,
while `Status` streams its progress. Closing the connection cancels both.

Source: BuildKit's api/services/control/control.proto, and observation of Docker Engine 20.10 and
26.1; 2026-11.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from jobs.adapters.buildkit import wire
from jobs.adapters.buildkit.http2 import OK, PREFIX, READ, WINDOW
from jobs.adapters.buildkit.transport import Connection
from jobs.errors import DockerError

SOLVE = "/moby.buildkit.v1.Control/Solve"
STATUS = "/moby.buildkit.v1.Control/Status"
EXPORTER = "moby"  # stores the result among the engine's images
FRONTEND = "dockerfile.v0"
GATEWAY = "gateway.v0"  # runs the frontend that an image contains
IMAGE_ID = "containerimage.digest"
LAST_WORDS_S = 10.0
LONGEST_MESSAGE = 16 * 1024 * 1024  # bytes
WENT_AWAY = "the Docker Engine went away in the middle of the build"


class SolveError(Exception):
    """The build failed, with BuildKit's message."""


def solve_request(
    ref: str, session_id: str, tag: str, attributes: Mapping[str, str], frontend: str = ""
) -> bytes:
    """Encode the request for a build.

    Args:
        ref: the build's id, by which its progress can be requested.
        attributes: the Dockerfile frontend's options.
        frontend: the image of the frontend; "": the engine's own.
    """
    if frontend:
        attributes = {**attributes, "source": frontend, "cmdline": frontend}
    told = [wire.data(7, _entry(name, value)) for name, value in attributes.items()]
    return b"".join(
        [
            wire.text(1, ref),
            wire.text(3, EXPORTER),
            wire.data(4, _entry("name", f"docker.io/{tag}")),
            wire.text(5, session_id),
            wire.text(6, GATEWAY if frontend else FRONTEND),
            *told,
        ]
    )


def _entry(name: str, value: str) -> bytes:
    return wire.text(1, name) + wire.text(2, value)


class _Call:
    """One call to the engine: its unsent data, the answer, and its status."""

    def __init__(self, message: bytes, take: Callable[[bytes], None]) -> None:
        self.outgoing = bytearray(b"\0" + len(message).to_bytes(4, "big") + message)
        self.headers: dict[str, str] = {}
        self.is_sent = self.is_over = False
        self._take = take
        self._rest = bytearray()

    @property
    def failure(self) -> str | None:
        """The call's error message; None when it succeeded."""
        if self.headers.get("grpc-status") == str(OK):
            return None
        return unquote(self.headers.get("grpc-message", ""))

    def feed(self, data: bytes) -> None:
        """Add received data, and pass on the messages that are now complete.

        Raises:
            DockerError: a message is too long or compressed.
        """
        self._rest += data
        while len(self._rest) >= PREFIX:
            size = PREFIX + int.from_bytes(self._rest[1:PREFIX], "big")
            if size > LONGEST_MESSAGE or self._rest[0]:
                raise DockerError("the Docker Engine sent a message that is too long or compressed")
            if len(self._rest) < size:
                return
            message = bytes(self._rest[PREFIX:size])
            del self._rest[:size]
            self._take(message)


class Control:
    """A client of the control service on a connection that was upgraded to gRPC."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._calls: dict[int, _Call] = {}

    async def solve(self, ref: str, request: bytes, follow: Callable[[bytes], None]) -> str:
        """Run a build to its end, and give the image's id.

        Args:
            ref: the id in the request.
            request: the result of `solve_request`.
            follow: called with each message of the build's progress, in this thread.

        Raises:
            SolveError: the build failed.
            DockerError: the engine disconnected, or does not speak gRPC.
        """
        answers: list[bytes] = []
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW)
        solving = self._call(SOLVE, request, answers.append)
        self._call(STATUS, wire.text(1, ref), follow)
        try:
            await self._run(solving)
        except ProtocolError as exc:
            raise DockerError("the Docker Engine's builder does not speak gRPC") from exc
        except OSError as exc:
            raise DockerError(WENT_AWAY) from exc
        if (failure := solving.failure) is not None:
            raise SolveError(failure)
        return _image_id(answers)

    def _call(self, method: str, message: bytes, take: Callable[[bytes], None]) -> _Call:
        stream_id = self._h2.get_next_available_stream_id()
        head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "docker"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        self._h2.send_headers(stream_id, head)
        call = self._calls[stream_id] = _Call(message, take)
        return call

    async def _run(self, solving: _Call) -> None:
        while not solving.is_over:
            await self._exchange()
        # Wait only briefly for the remaining progress messages.
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                while not all(call.is_over for call in self._calls.values()):
                    await self._exchange()

    async def _exchange(self) -> None:
        self._send_what_fits()
        self._connection.writer.write(self._h2.data_to_send())
        await self._connection.writer.drain()
        if not (data := await self._connection.reader.read(READ)):
            raise DockerError(WENT_AWAY)
        for event in self._h2.receive_data(data):
            self._react(event)

    def _send_what_fits(self) -> None:
        for stream_id, call in self._calls.items():
            while not (call.is_sent or call.is_over):
                room = min(
                    self._h2.local_flow_control_window(stream_id),
                    self._h2.max_outbound_frame_size,
                )
                if room <= 0:
                    break
                call.is_sent = room >= len(call.outgoing)
                part = bytes(call.outgoing[:room])
                self._h2.send_data(stream_id, part, end_stream=call.is_sent)
                del call.outgoing[:room]

    def _react(self, event: Event) -> None:
        match event:
            case ResponseReceived() | TrailersReceived():
                call = self._calls[event.stream_id]
                call.headers |= {str(name): str(value) for name, value in event.headers}
            case DataReceived():
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self._calls[event.stream_id].feed(event.data)
            case StreamEnded() | StreamReset():
                self._calls[event.stream_id].is_over = True
            case ConnectionTerminated():
                raise DockerError(WENT_AWAY)


def _image_id(answers: Sequence[bytes]) -> str:
    try:
        entries = [entry for answer in answers for entry in wire.Message(answer).messages(1)]
        told = {entry.text(1): entry.text(2) for entry in entries}
    except wire.WireError as exc:
        raise DockerError("the Docker Engine describes the image in an unknown form") from exc
    if IMAGE_ID not in told:
        raise DockerError("the Docker Engine has built no image, and does not say why")
    return told[IMAGE_ID]
