"""HTTP/1.1 to the engine: connections that can be cut at any moment, and turned around.

The docker SDK offers neither, so this speaks the little HTTP that a build needs.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from jobs.errors import DockerError

SWITCHING_PROTOCOLS, OK = 101, 200
CONNECT_DEADLINE_S = 10
ANSWER_DEADLINE_S = 60
LONGEST_HEAD = 64 * 1024  # bytes; also how much asyncio reads ahead
LONGEST_JSON = 16 * 1024 * 1024  # bytes, of one line
LONGEST_ERROR = 16 * 1024  # bytes
PIECE = 64 * 1024  # bytes


@dataclass(frozen=True)
class Address:
    """Where an engine listens: a Unix socket, or a host and port with or without TLS."""

    socket_path: str = ""
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class Connection:
    """An open connection to the engine."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(
        self,
        target: str,
        headers: Mapping[str, str | list[str]],
        body: Iterable[bytes] | None = None,
    ) -> "Answer":
        """Send a POST, and give the head of what is answered.

        Args:
            body: sent in chunks as it comes; the headers must say so.

        Raises:
            DockerError: the engine went away, or does not speak HTTP.
        """
        lines = [f"POST {target} HTTP/1.1", "Host: docker"]
        for name, values in headers.items():
            lines += [
                f"{name}: {value}" for value in ([values] if isinstance(values, str) else values)
            ]
        lines += ["", ""]
        await self._send("\r\n".join(lines).encode())
        for piece in filter(None, body or ()):
            await self._send(b"%x\r\n%b\r\n" % (len(piece), piece))
        if body is not None:
            await self._send(b"0\r\n\r\n")
        with _broken_off():
            head = await self.reader.readuntil(b"\r\n\r\n")
        return _parse_head(head)

    async def _send(self, data: bytes) -> None:
        with _broken_off():
            self.writer.write(data)
            await self.writer.drain()


@dataclass(frozen=True)
class Answer:
    """The head of an answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Connection]:
    """Open a connection that is closed when the block ends, however it ends.

    Raises:
        DockerError: nobody answers there.
    """
    try:
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            reader, writer = await _open(address)
    except (OSError, TimeoutError) as exc:
        raise DockerError("the Docker Engine does not answer; is it running?") from exc
    try:
        yield Connection(reader, writer)
    finally:
        # Not closed politely: an engine that has stopped reading must not hold us up.
        writer.transport.abort()


async def json_lines(reader: asyncio.StreamReader, answer: Answer) -> AsyncIterator[dict[str, Any]]:
    """Give the JSON objects of an answer's body as they come.

    Raises:
        DockerError: the engine went away in the middle, or refused the request.
    """
    if answer.status != OK:
        message = await read_refusal(reader, answer)
        raise DockerError(f"the Docker Engine refused the build ({answer.status}): {message}")
    rest = b""
    async for piece in _body(reader, answer):
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
    except (ValueError, asyncio.LimitOverrunError) as exc:
        raise DockerError("what answers for the Docker Engine does not speak HTTP") from exc


async def _open(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.socket_path:
        return await asyncio.open_unix_connection(address.socket_path, limit=LONGEST_HEAD)
    return await asyncio.open_connection(
        address.host, address.port, ssl=address.tls, limit=LONGEST_HEAD
    )


def _parse_head(head: bytes) -> Answer:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not status.isdigit():
        raise DockerError("what answers for the Docker Engine does not speak HTTP")
    pairs = (line.partition(":") for line in lines if line)
    return Answer(int(status), {name.lower(): value.strip() for name, _, value in pairs})


def _parse_json(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as exc:
        raise DockerError("the Docker Engine sent something that is not JSON") from exc
    return value if isinstance(value, dict) else {}


async def read_refusal(reader: asyncio.StreamReader, answer: Answer) -> str:
    """Give the reason that the body of a refusal holds.

    Raises:
        DockerError: the engine went away in the middle.
    """
    body = b""
    async for piece in _body(reader, answer):
        body += piece
        if len(body) > LONGEST_ERROR:
            break
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = ""
    return str(message or "no reason given")


async def _body(reader: asyncio.StreamReader, answer: Answer) -> AsyncIterator[bytes]:
    chunked = answer.headers.get("transfer-encoding", "").lower() == "chunked"
    left = 0 if chunked else int(answer.headers.get("content-length", 0))
    while left or (chunked and (left := await _chunk_size(reader))):
        with _broken_off():
            piece = await reader.read(min(left, PIECE))
            if not piece:
                raise EOFError
            left -= len(piece)
            if chunked and not left:
                await reader.readexactly(2)
        yield piece


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    with _broken_off():
        line = await reader.readuntil(b"\r\n")
        return int(line.split(b";")[0], 16)
