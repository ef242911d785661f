"""Answering the engine's calls, with the engine's side of HTTP/2 played by the test."""

import asyncio
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded, StreamReset, TrailersReceived
from pydantic import SecretStr

from jobs.adapters.buildkit import wire
from jobs.adapters.buildkit.context import Context
from jobs.adapters.buildkit.http2 import GrpcConnection
from jobs.adapters.buildkit.services import Method, Packet, Services
from jobs.errors import GitError
from jobs.rules.repository_values import TreeEntry
from tests.trees import BrokenTree, MemoryTree

DEADLINE_S = 120
BIG = bytes(range(256)) * 4096 * 8  # 8 MiB


class Caller:
    """One call as the engine makes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.initiate_connection()
        self._body = bytearray()
        self.status = ""
        self.is_over = False

    async def call(self, method: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "x")]
        self._h2.send_headers(1, [*pseudo, ("te", "trailers"), *headers])
        await self._transmit()

    async def send(self, *messages: bytes, end: bool = False) -> None:
        data = b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in messages)
        while data:
            room = min(self._h2.local_flow_control_window(1), 16384)
            if room == 0:
                await self._take()
                continue
            self._h2.send_data(1, data[:room])
            data = data[room:]
            await self._transmit()
        if end:
            self._h2.end_stream(1)
            await self._transmit()

    async def next(self) -> bytes | None:
        """Give the next message; None when the call has ended."""
        while len(self._body) < 5 or len(self._body) < 5 + self._size():
            if self.is_over:
                return None
            await self._take()
        size = self._size()
        message = bytes(self._body[5 : 5 + size])
        del self._body[: 5 + size]
        return message

    def _size(self) -> int:
        return int.from_bytes(self._body[1:5], "big")

    async def _take(self) -> None:
        data = await self._reader.read(65536)
        self.is_over = self.is_over or not data
        for event in self._h2.receive_data(data) if data else []:
            if isinstance(event, DataReceived):
                self._body += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, TrailersReceived):
                headers = {bytes(name): bytes(value) for name, value in event.headers}
                self.status = headers[b"grpc-status"].decode()
            elif isinstance(event, StreamEnded | StreamReset):
                self.is_over = True
        await self._transmit()

    async def _transmit(self) -> None:
        self._writer.write(self._h2.data_to_send())
        await self._writer.drain()


class Talk:
    """A caller and the connection that answers it, open inside the block."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __aenter__(self) -> tuple[Caller, GrpcConnection]:
        ours, theirs = socket.socketpair()
        reader, self._ours = await asyncio.open_connection(sock=ours)
        self.connection = GrpcConnection(reader, self._ours, self._services.answer)
        self._serving = asyncio.create_task(self.connection.serve())
        reader, self._theirs = await asyncio.open_connection(sock=theirs)
        return Caller(reader, self._theirs), self.connection

    async def __aexit__(self, *_: object) -> None:
        self._theirs.close()
        await asyncio.wait_for(self._serving, DEADLINE_S)
        self._ours.close()


def services(
    tree: MemoryTree | None = None,
    *,
    secrets: Mapping[str, SecretStr] | None = None,
    logins: Mapping[str, tuple[str, SecretStr]] | None = None,
) -> Services:
    context = Context(tree or MemoryTree({}))
    return Services(context, secrets=secrets or {}, find_login=(logins or {}).get)


def ask(answering: Services, method: str, request: bytes = b"") -> tuple[bytes | None, str]:
    """Make a call with one message, and give the answer and the status."""

    async def talk() -> tuple[bytes | None, str]:
        async with asyncio.timeout(DEADLINE_S), Talk(answering) as (caller, _):
            await caller.call(method)
            await caller.send(request, end=True)
            answer = await caller.next()
            while not caller.is_over:
                await caller.next()
            return answer, caller.status

    return asyncio.run(talk())


def test_health_is_serving() -> None:
    assert ask(services(), Method.HEALTH) == (wire.number(1, 1), "0")


def test_secret_is_given_by_its_id() -> None:
    ours = services(secrets={"token": SecretStr("s3cr3t")})

    assert ask(ours, Method.GET_SECRET, wire.text(1, "token")) == (wire.text(1, "s3cr3t"), "0")
    assert ask(ours, Method.GET_SECRET, wire.text(1, "other")) == (None, "5")


def test_login_is_given_by_host_and_empty_for_others() -> None:
    ours = services(logins={"registry.test": ("ada", SecretStr("pass"))})
    login = wire.text(1, "ada") + wire.text(2, "pass")

    assert ask(ours, Method.CREDENTIALS, wire.text(1, "registry.test")) == (login, "0")
    assert ask(ours, Method.CREDENTIALS, wire.text(1, "other.test")) == (b"", "0")


def test_method_of_a_newer_engine_is_unimplemented() -> None:
    assert ask(services(), "/moby.filesync.v1.Auth/FetchToken") == (None, "12")


@pytest.mark.parametrize("request_", [b"\x0a\x05abc", b"\xff" * 20])
def test_request_that_cannot_be_read_is_refused(request_: bytes) -> None:
    assert ask(services(), Method.GET_SECRET, request_) == (None, "2")


def test_request_without_an_end_is_refused() -> None:
    assert ask(services(), Method.GET_SECRET, wire.text(1, "x" * 300_000)) == (None, "12")


def test_folder_that_is_not_the_context_is_refused() -> None:
    assert ask(services(MemoryTree({"a": "x"})), Method.DIFF_COPY)[1] == "5"


def content_of(tree: MemoryTree, *indexes: int) -> dict[int, bytes]:
    """Ask for files by their place in the list, as the engine does; and end properly."""

    async def talk() -> dict[int, bytes]:
        async with asyncio.timeout(DEADLINE_S), Talk(services(tree)) as (caller, _):
            await caller.call(Method.DIFF_COPY, [("dir-name", "context")])
            while await caller.next():
                pass
            requests = [wire.number(1, Packet.REQUEST) + wire.number(3, i) for i in indexes]
            asking = asyncio.create_task(caller.send(*requests))
            found, open_files = dict.fromkeys(indexes, b""), set(indexes)
            while open_files and (message := await caller.next()):
                packet = wire.Message(message)
                found[packet.number(3)] += packet.data(4)
                if not packet.data(4):
                    open_files.discard(packet.number(3))
            await asking
            await caller.send(wire.number(1, Packet.FINISH))
            assert await caller.next() == wire.number(1, Packet.FINISH)
            assert await caller.next() is None
            assert caller.status == "0"
            return found

    return asyncio.run(talk())


def test_files_are_sent_whole_whatever_their_size() -> None:
    tree = MemoryTree({"a": "", "b": "small", "c": BIG})

    assert content_of(tree, 2, 0, 1) == {0: b"", 1: b"small", 2: BIG}


class WaitingTree(MemoryTree):
    """A tree with a link that is only read once somebody allows it."""

    def __init__(self) -> None:
        super().__init__({}, links={"l": "x"})
        self.allowed = threading.Event()

    def read(self, entry: TreeEntry) -> Iterator[bytes]:
        """Give the content when it may be read."""
        assert self.allowed.wait(DEADLINE_S)
        return super().read(entry)


def test_long_selection_holds_up_nothing_else() -> None:
    tree = WaitingTree()

    async def talk() -> bytes | None:
        async with asyncio.timeout(DEADLINE_S), Talk(services(tree)) as (caller, _):
            await caller.call(Method.DIFF_COPY, [("dir-name", "context")])
            asking = asyncio.create_task(caller.next())
            done, _ = await asyncio.wait({asking}, timeout=0.3)
            assert not done
            tree.allowed.set()
            return await asking

    assert asyncio.run(talk())


def test_many_requests_at_once_never_lock_each_other_out() -> None:
    count = 12_000  # their requests alone are more than a window of HTTP/2
    tree = MemoryTree({f"{n:06}": str(n) for n in range(count)})

    found = content_of(tree, *range(count))

    assert found == {n: str(n).encode() for n in range(count)}


def test_file_that_cannot_be_read_ends_the_connection_and_is_remembered() -> None:
    async def talk() -> BaseException | None:
        tree = BrokenTree({"a": "x"}, broken="a", error=GitError("no pack"))
        async with asyncio.timeout(DEADLINE_S), Talk(services(tree)) as (caller, connection):
            await caller.call(Method.DIFF_COPY, [("dir-name", "context")])
            await caller.send(wire.number(1, Packet.REQUEST))
            while await caller.next() is not None:
                pass
            return connection.failure

    assert isinstance(asyncio.run(talk()), GitError)


@pytest.mark.parametrize("index", [1, 7])
def test_content_of_what_is_no_file_is_refused(index: int) -> None:
    async def talk() -> str:
        tree = MemoryTree({"a": "x"}, links={"b": "a"})
        async with asyncio.timeout(DEADLINE_S), Talk(services(tree)) as (caller, _):
            await caller.call(Method.DIFF_COPY, [("dir-name", "context")])
            await caller.send(wire.number(1, Packet.REQUEST) + wire.number(3, index))
            while await caller.next() is not None:
                pass
            return caller.status

    assert asyncio.run(talk()) == "2"


def test_escaped_patterns_of_a_newer_engine_are_understood() -> None:
    async def talk() -> list[str]:
        tree = MemoryTree({"ä b": "x", "c": "x"})
        async with asyncio.timeout(DEADLINE_S), Talk(services(tree)) as (caller, _):
            headers = [("exclude-patterns", "%C3%A4+b"), ("exclude-patterns-encoded", "1")]
            await caller.call(Method.DIFF_COPY, [("dir-name", "context"), *headers])
            paths = []
            while message := await caller.next():
                paths += [stat.text(1) for stat in wire.Message(message).messages(2)]
            return paths

    assert asyncio.run(talk()) == ["c"]
