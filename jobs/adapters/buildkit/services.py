"""The services that the engine calls during a build: files, secrets, registry logins, health."""

from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from urllib.parse import unquote_plus

from pydantic import SecretStr

from jobs.adapters.buildkit import wire
from jobs.adapters.buildkit.context import SYMLINK, Context, Filters, Node
from jobs.adapters.buildkit.http2 import (
    NOT_FOUND,
    UNIMPLEMENTED,
    UNKNOWN,
    Metadata,
    RpcError,
    Stream,
)
from jobs.adapters.buildkit.running import aside

# Returns user and password for a registry's host, or None.
FindLogin = Callable[[str], tuple[str, SecretStr] | None]


class Method(StrEnum):
    """The methods that are announced to the engine."""

    DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"
    GET_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"  # noqa: S105
    CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
    HEALTH = "/grpc.health.v1.Health/Check"


class Packet(IntEnum):
    """The kinds of messages in a `DIFF_COPY` call."""

    STAT = 0
    REQUEST = 1
    DATA = 2
    FINISH = 3
    ERROR = 4


FOLDERS = ("context", "dockerfile")  # both mean the tree: the Dockerfile is one of its files
SERVING = 1


class Services:
    """Answers the engine's calls for one build.

    A missing secret or login is distinguished from an empty one: without a secret, the engine fails
    the step that needs it; without a login, it pulls anonymously.
    """

    def __init__(
        self,
        context: Context,
        *,
        secrets: Mapping[str, SecretStr],
        find_login: FindLogin,
    ) -> None:
        """Prepare the answers.

        Args:
            secrets: by the id that a Dockerfile uses in `RUN --mount=type=secret,id=…`.
            find_login: gives the login for a registry's host, as the engine connects to it.
        """
        self._context = context
        self._secrets = secrets
        self._find_login = find_login

    async def answer(self, stream: Stream) -> None:
        """Serve one call to its end.

        Raises:
            RpcError: the call is refused.
        """
        try:
            await self._answer(stream)
        except wire.WireError as exc:
            raise RpcError(UNKNOWN, f"the request cannot be read: {exc}") from exc

    async def _answer(self, stream: Stream) -> None:
        match stream.method:
            case Method.DIFF_COPY:
                await self._send_tree(stream)
            case Method.GET_SECRET:
                await stream.send(self._secret(await _request(stream)))
            case Method.CREDENTIALS:
                await stream.send(self._login(await _request(stream)))
            case Method.HEALTH:
                await stream.send(wire.number(1, SERVING))
            case _:
                # Newer engines call more methods, and fall back when one is not implemented.
                raise RpcError(UNIMPLEMENTED, "Keystone does not offer this")

    def _secret(self, request: wire.Message) -> bytes:
        secret = self._secrets.get(request.text(1))
        if secret is None:
            raise RpcError(NOT_FOUND, f"there is no secret {request.text(1)!r}")
        return wire.text(1, secret.get_secret_value())

    def _login(self, request: wire.Message) -> bytes:
        login = self._find_login(request.text(1))
        if login is None:
            return b""
        user, password = login
        return wire.text(1, user) + wire.text(2, password.get_secret_value())

    async def _send_tree(self, stream: Stream) -> None:
        """Describe every file, then send the content of the files that the engine requests."""
        if stream.metadata.get("dir-name", [""])[0] not in FOLDERS:
            raise RpcError(NOT_FOUND, "there is no such folder")
        filters = _filters(stream.metadata)
        nodes = await aside(lambda given_up: self._context.select(filters, given_up))
        for node in nodes:
            await stream.send(wire.data(2, node.stat()))
        await stream.send(b"")  # a STAT without a description marks the end
        while (encoded := await stream.receive()) is not None:
            packet = wire.Message(encoded)
            match packet.number(1):
                case Packet.REQUEST:
                    await self._send_file(stream, nodes, packet.number(3))
                case Packet.FINISH:
                    await stream.send(wire.number(1, Packet.FINISH))
                    return
                case Packet.ERROR:
                    # The engine gave up; its answer to the build request contains the reason.
                    return

    async def _send_file(self, stream: Stream, nodes: list[Node], index: int) -> None:
        entry = nodes[index].entry if index < len(nodes) else None
        if entry is None or entry.mode == SYMLINK:
            raise RpcError(UNKNOWN, f"entry {index} has no content")
        for piece in self._context.read(entry):
            await stream.send(_content(index, piece))
        await stream.send(_content(index, b""))  # empty content marks the end


def _content(index: int, piece: bytes) -> bytes:
    head = wire.number(1, Packet.DATA) + wire.number(3, index)
    return head + wire.data(4, piece) if piece else head


async def _request(stream: Stream) -> wire.Message:
    return wire.Message(await stream.receive() or b"")


def _filters(metadata: Metadata) -> Filters:
    return Filters(
        include=_values(metadata, "include-patterns"),
        exclude=_values(metadata, "exclude-patterns"),
        follow=_values(metadata, "followpaths"),
    )


def _values(metadata: Metadata, name: str) -> tuple[str, ...]:
    """Give a list from the metadata; newer engines escape values that are not plain ASCII."""
    values = metadata.get(name, [])
    escaped = metadata.get(f"{name}-encoded", ["0"])[0] in {"1", "true"}
    return tuple(unquote_plus(value) if escaped else value for value in values)
