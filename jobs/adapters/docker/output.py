"""A container's last output, read from the engine as whole lines with their streams.

The engine stores a line of more than 16 KiB as several pieces, counts these pieces when it is asked
for the last N lines, and puts a timestamp before each piece. This module joins the pieces.

Source: https://docs.docker.com/reference/api/engine/version/v1.41/ "Attach to a container", stream
format (read 2026-12-01), and observation of Docker Engine 20.10.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from docker.api.client import APIClient

from jobs.adapters.docker.failures import ensure_accepted
from jobs.rules.container_values import OutputLine
from jobs.rules.reasons import LONGEST_QUOTED

STDERR = 2
HEADER = 8  # bytes before each piece: its stream, three zeros, its size
LONGEST_HELD = 4 * LONGEST_QUOTED  # bytes of one line; at least LONGEST_QUOTED characters
# Characters of all lines together. The engine's log of a container holds at most 30 MB, so a few
# requests of ever more pieces read all of it.
MOST_HELD = 8 * 1024 * 1024
MORE = 8
READ = 64 * 1024

_PARTS = re.compile(rb"[^\n]*\n|[^\n]+")
_STAMPED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d) ?")


def last_lines(
    api: APIClient, container_id: str, *, tail: int, after: str = "", timeout_s: float
) -> list[OutputLine]:
    """Give the last lines of a container's output, oldest first.

    Args:
        tail: the number of lines, at most.
        after: the time of a line already seen; only later lines are given.
        timeout_s: how long the engine may be silent.
    """
    # One piece more than lines: the first line may be only the end of one.
    pieces = tail + 1
    while tail > 0:
        lines = Joined()
        asked = {"tail": pieces, "since": whole_seconds(after) or 0}
        for piece in _pieces(api, container_id, asked, timeout_s):
            lines.add(*piece)
        if len(lines) > tail or lines.pieces < pieces or lines.is_full:
            return [line for line in lines.last(tail) if line.at > after]
        pieces *= MORE
    return []


def _pieces(
    api: APIClient, container_id: str, asked: dict[str, int], timeout_s: float
) -> Iterator[tuple[int, bytes]]:
    wanted = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": 0, **asked}
    url = f"{api.base_url}/v{api.api_version}/containers/{container_id}/logs"
    with api.get(url, params=wanted, stream=True, timeout=timeout_s) as answer:
        ensure_accepted(answer)
        yield from frames(answer.iter_content(READ))


def frames(data: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Split the engine's stream into pieces of output, each with the number of its stream."""
    rest = bytearray()
    for chunk in data:
        rest += chunk
        at = 0
        while len(rest) - at >= HEADER:
            end = at + HEADER + int.from_bytes(rest[at + 4 : at + HEADER], "big")
            if end > len(rest):
                break
            yield rest[at], bytes(rest[at + HEADER : end])
            at = end
        del rest[:at]


@dataclass
class _Line:
    at: str = ""
    text: bytearray = field(default_factory=bytearray)


class Joined:
    """Joins the pieces of lines; holds the last lines, at most `MOST_HELD` characters of them.

    A line counts as written when its last piece was: so the times ascend, and a reader that asks
    for what came after a line misses nothing.

    Attributes:
        pieces: how many pieces were added.
        is_full: whether earlier lines were dropped for those after them.
    """

    def __init__(self) -> None:
        self.pieces = 0
        self.is_full = False
        self._lines: deque[OutputLine] = deque()
        self._held = 0
        self._unfinished: dict[int, _Line] = {}

    def add(self, stream: int, piece: bytes) -> None:
        """Add a piece of one stream: a timestamp, and a line or a part of one."""
        self.pieces += 1
        for part in _PARTS.findall(piece):
            self._add_part(stream, part)

    def __len__(self) -> int:
        """The number of lines held, with those that are not finished."""
        return len(self._lines) + len(self._unfinished)

    def last(self, most: int) -> list[OutputLine]:
        """Give the last lines, with those that are not finished at the end."""
        unfinished = sorted(
            (_finished(line, stream) for stream, line in self._unfinished.items()),
            key=lambda line: line.at,
        )
        return [*self._lines, *unfinished][-most:]

    def _add_part(self, stream: int, part: bytes) -> None:
        line = self._unfinished.setdefault(stream, _Line())
        if stamp := _STAMPED.match(part):
            line.at = stamp[0].decode().strip()
        text = part[stamp.end() :] if stamp else part
        line.text += text[: LONGEST_HELD - len(line.text)]
        if text.endswith(b"\n"):
            self._keep(_finished(self._unfinished.pop(stream), stream))

    def _keep(self, line: OutputLine) -> None:
        self._lines.append(line)
        self._held += len(line.text)
        while self._held > MOST_HELD:
            self._held -= len(self._lines.popleft().text)
            self.is_full = True


def _finished(line: _Line, stream: int) -> OutputLine:
    text = bytes(line.text).removesuffix(b"\n").removesuffix(b"\r").decode(errors="replace")
    return OutputLine(line.at, text[:LONGEST_QUOTED], is_error=stream == STDERR)


def whole_seconds(moment: str) -> int | None:
    """Give an engine timestamp as whole seconds since 1970; None when it is empty."""
    if not moment:
        return None
    return int(datetime.fromisoformat(moment[:19]).replace(tzinfo=UTC).timestamp())
