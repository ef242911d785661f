"""HTTP/1.1 to the engine, over connections that can be aborted at any time and upgraded.

The docker SDK supports neither, so this module uses h11, an HTTP library, on asyncio's streams.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import h11

from jobs.errors import DockerError

SWITCHING_PROTOCOLS, OK = 101, 200
CONNECT_DEADLINE_S = 10
ANSWER_DEADLINE_S = 60
LONGEST_HEAD = 64 * 1024  # bytes; also the limit of a chunk's header, and of asyncio's read-ahead
LONGEST_JSON = 16 * 1024 * 1024  # bytes of one line
LONGEST_ERROR = 16 * 1024  # bytes
PIECE = 64 * 1024  # bytes
NOT_HTTP = "what answers for the Docker Engine does not speak HTTP"
_VERSION_REFUSED = re.compile(r"client version \S+ is too (?:new|old)")


class VersionRefusedError(DockerError):
    """The engine does not take this version of its API, and has done nothing."""


def refuses_version(reason: str) -> bool:
    """Whether an engine's reason for a refusal is the version of the API."""
    return bool(_VERSION_REFUSED.search(reason))


@dataclass(frozen=True)
class Address:
    """Where an engine listens: a Unix socket, or a host and port with or without TLS."""

    socket_path: str = ""
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None


def _client() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)


@dataclass(frozen=True)
class Connection:
    """An open connection to the engine, for one request."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _http: h11.Connection = field(default_factory=_client)

    async def request(
        self,
        target: str,
        headers: Mapping[str, str | list[str]],
        body: Iterable[bytes] = (),
    ) -> int:
        """Send a POST, and give the status of the answer.

        After status 101, `reader` continues directly after the answer's header block.

        Args:
            body: sent in chunks as they arrive; the headers must announce chunked encoding.

        Raises:
            DockerError: the engine disconnected, or does not speak HTTP.
        """
        told = [("Host", "docker")]
        for name, values in headers.items():
            told += [(name, value) for value in ([values] if isinstance(values, str) else values)]
        await self._send(h11.Request(method="POST", target=target, headers=told))
        for piece in body:
            await self._send(h11.Data(data=piece))
        await self._send(h11.EndOfMessage())
        while True:
            answer = await self._head()
            if isinstance(answer, h11.Response) or answer.status_code == SWITCHING_PROTOCOLS:
                return answer.status_code

    async def body(self) -> AsyncIterator[bytes]:
        """Give the answer's body in chunks as they arrive.

        Raises:
            DockerError: the engine disconnected, or does not speak HTTP.
        """
        while isinstance(event := await self._next_event(), h11.Data):
            yield bytes(event.data)

    async def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        with _broken_off():
            self.writer.write(self._http.send(event))
            await self.writer.drain()

    async def _head(self) -> h11.Response | h11.InformationalResponse:
        with _broken_off():
            # Read no further than the header block: after 101, the data is not HTTP/1.1.
            self._http.receive_data(await self.reader.readuntil(b"\r\n\r\n"))
            event = self._http.next_event()
        if isinstance(event, h11.Response | h11.InformationalResponse):
            return event
        raise DockerError(NOT_HTTP)

    async def _next_event(self) -> object:
        with _broken_off():
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self.reader.read(PIECE)
                self._http.receive_data(data)
                if not data:
                    return self._last_event()
            return event

    def _last_event(self) -> object:
        """Give the final event of an answer without a length, which ends with its connection."""
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as exc:
            raise EOFError from exc


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Connection]:
    """Open a connection that is always closed when the block ends.

    Raises:
        DockerError: the engine does not answer.
    """
    try:
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            reader, writer = await _open(address)
    except (OSError, TimeoutError) as exc:
        raise DockerError("the Docker Engine does not answer; is it running?") from exc
    try:
        yield Connection(reader, writer)
    finally:
        # Abort instead of close: an engine that has stopped reading must not block us.
        writer.transport.abort()


async def json_lines(connection: Connection, status: int) -> AsyncIterator[dict[str, Any]]:
    """Give the JSON objects of an answer's body as they arrive.

    Raises:
        DockerError: the engine disconnected, or refused the request.
    """
    if status != OK:
        raise await refusal_of("the build", connection, status)
    rest = b""
    async for piece in connection.body():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > LONGEST_JSON:
            raise DockerError("the Docker Engine sent a line without an end")
        for line in lines:
            if line.strip():
                yield _parse_json(line)


@contextmanager
def _broken_off() -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError) as exc:
        raise DockerError("the Docker Engine went away in the middle of the build") from exc
    except (ValueError, asyncio.LimitOverrunError, h11.RemoteProtocolError) as exc:
        raise DockerError(NOT_HTTP) from exc


async def _open(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.socket_path:
        return await asyncio.open_unix_connection(address.socket_path, limit=LONGEST_HEAD)
    return await asyncio.open_connection(
        address.host, address.port, ssl=address.tls, limit=LONGEST_HEAD
    )


def _parse_json(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as exc:
        raise DockerError("the Docker Engine sent something that is not JSON") from exc
    return value if isinstance(value, dict) else {}


async def refusal_of(what: str, connection: Connection, status: int) -> DockerError:
    """Give the error for a refused request.

    Raises:
        DockerError: the engine disconnected.
        VersionRefusedError: the engine does not take this version of its API.
    """
    reason = await read_refusal(connection)
    return DockerError(f"the Docker Engine refused {what} ({status}): {reason}")


async def read_refusal(connection: Connection) -> str:
    """Read the reason from the body of a refusal.

    Raises:
        DockerError: the engine disconnected.
        VersionRefusedError: the engine does not take this version of its API.
    """
    body = b""
    async for piece in connection.body():
        body += piece
        if len(body) > LONGEST_ERROR:
            break
    if refuses_version(told := body.decode(errors="replace")):
        raise VersionRefusedError("the Docker Engine refused this version of its API")
    try:
        message = json.loads(told)["message"]
    except (ValueError, KeyError, TypeError):
        message = ""
    return str(message or "no reason given")
