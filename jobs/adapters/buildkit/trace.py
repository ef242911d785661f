"""Decodes the engine's messages about the progress of a build. Pure.

Source: BuildKit's api/services/control/control.proto, `StatusResponse`; read 2026-11-20.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.adapters.buildkit.wire import Message

STDERR = 2


@dataclass(frozen=True)
class Vertex:
    """The state of one step of a build."""

    digest: str
    name: str
    cached: bool = False
    started_s: float | None = None  # seconds since 1970
    completed_s: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Output:
    """A piece of a step's output; it may begin and end inside a line or a character."""

    digest: str
    data: bytes
    is_error: bool = False  # of the standard error


def decode_trace(encoded: bytes) -> Iterator[Vertex | Output]:
    """Decode one progress message: the steps first, then their output.

    Raises:
        WireError: the bytes are not such a message.
    """
    status = Message(encoded)
    yield from map(_vertex, status.messages(1))
    for log in status.messages(3):
        yield Output(log.text(1), log.data(4), is_error=log.number(3) == STDERR)


def _vertex(message: Message) -> Vertex:
    return Vertex(
        digest=message.text(1),
        name=message.text(3),
        cached=bool(message.number(4)),
        started_s=_seconds(message.message(5)),
        completed_s=_seconds(message.message(6)),
        error=message.text(7),
    )


def _seconds(timestamp: Message | None) -> float | None:
    if timestamp is None:
        return None
    return timestamp.number(1) + timestamp.number(2) / 10**9
