"""The file of a deployment's log: one event per line, in the format of `jobs.rules.log_events`.

Before a line is written, its secrets are masked, invisible characters are removed, and its length
is bounded; the file's size is bounded too.
"""

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from jobs.errors import StorageError
from jobs.rules.ansi import clean
from jobs.rules.log_events import (
    LONGEST_ENVELOPE,
    BuildEvent,
    EventKind,
    LogEvent,
    encode,
    parse,
    plain,
    shown_line,
)
from jobs.rules.log_lines import lines_of, masked, pieces_of
from jobs.rules.redaction import Redactor
from jobs.storage.models import now

logger = logging.getLogger(__name__)

FILE_MODE = 0o640  # the web process shows the log, and may be another user in the folder's group
LARGEST_LOG_BYTES = 50 * 1024 * 1024
# Kept for everything that is not a build command's output, like the reason of the failure.
RESERVED_BYTES = 4 * 1024 * 1024
CUT_MARK = "the log is cut here: it reached 50 MiB"
OUTPUT_CUT_MARK = "the rest of the builder's output is left out: the log reached 46 MiB"


def log_path(logs_dir: Path, deployment_id: int) -> Path:
    """Give the path of a deployment's log."""
    return logs_dir / f"{deployment_id}.log"


class DeploymentLog:
    """Appends to one deployment's log. Any thread may write.

    Raises:
        StorageError: the log cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        redact: Redactor,
        *,
        limit: int = LARGEST_LOG_BYTES,
        reserved: int = RESERVED_BYTES,
    ) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            os.fchmod(self._file.fileno(), FILE_MODE)
        except OSError as exc:
            # GitHub shows this message too, so it must not disclose the path of the data directory.
            name = f"{path.parent.name}/{path.name}"
            raise StorageError(f"the log {name} cannot be written: {exc.strerror}") from exc
        self._file.seek(0, 2)
        self._room = limit - self._file.tell()
        self._reserved = reserved
        self._takes_output = True
        self.redact = redact
        self._lock = threading.Lock()

    def write(self, step: str, said: str | BuildEvent) -> None:
        """Append a text or a builder's event, one log event for each of its lines."""
        told = said if isinstance(said, BuildEvent) else BuildEvent(EventKind.TEXT, said)
        at = now()
        lines = (
            LogEvent(at, step, each.kind, each.text, each.vertex, each.seconds)
            for each in self._pieces(told)
        )
        data = "".join(f"{encode(line)}\n" for line in lines).encode(errors="replace")
        # The older builder sends all it has as text, the commands' output too.
        is_output = said is told and told.kind in {EventKind.OUTPUT, EventKind.TEXT}
        with self._lock:
            if self._room <= 0 or (is_output and not self._takes_output):
                return
            if is_output and self._room - len(data) <= self._reserved:
                self._takes_output = False
                data = _mark(at, step, OUTPUT_CUT_MARK)
            self._room -= len(data)
            if self._room <= 0:
                data = _mark(at, step, CUT_MARK)
            self._append(data)

    def _pieces(self, told: BuildEvent) -> Iterator[BuildEvent]:
        """Split an event into one event per line of its text, and several for a line too long.

        The lines after the first of a vertex's name or error become output of that vertex.
        """
        # Mask before cutting: a part of a secret would not be recognised.
        whole = (masked(line, self.redact) for line in lines_of(told.text))
        first, *others = (piece for line in whole for piece in pieces_of(line))
        yield replace(told, text=first)
        kind = EventKind.TEXT if told.vertex is None else EventKind.OUTPUT
        for text in others:
            yield BuildEvent(kind, text, told.vertex)

    def _append(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as exc:
            # A log that cannot be written must not fail the deployment, least of all its cleanup.
            self._room = 0
            logger.error("a deployment's log cannot be written: %s", exc.strerror)  # noqa: TRY400

    def close(self) -> None:
        """Close the file; do not write to the log after that."""
        self._file.close()


def _mark(at: datetime, step: str, text: str) -> bytes:
    return f"{encode(LogEvent(at, step, EventKind.TEXT, text))}\n".encode()


@dataclass(frozen=True)
class LogPart:
    """A part of a log as plain text: whole lines, and the offset to continue from."""

    text: str
    next_offset: int  # bytes


@dataclass(frozen=True)
class EventPart:
    """A part of a log as events, and the offset to continue from."""

    events: list[LogEvent]
    next_offset: int  # bytes


def read_events(path: Path, *, offset: int = 0, limit: int = 1024 * 1024) -> EventPart | None:
    """Read whole lines from an offset on, about `limit` bytes at most; None if there is no log.

    If the offset is inside a line, the rest of that line becomes plain text: it may come from a
    repository, so it must not be parsed as an envelope.
    """
    begin = max(offset, 0)
    try:
        with path.open("rb") as file:
            file.seek(max(begin - 1, 0))
            is_inside = begin > 0 and file.read(1) != b"\n"
            data = file.read(limit)
    except FileNotFoundError:
        return None
    *lines, unfinished = data.split(b"\n")
    events = [*map(plain, lines[:is_inside]), *map(parse, lines[is_inside:])]
    return EventPart(events, begin + len(data) - len(unfinished))


def read_log(path: Path, *, offset: int = 0, limit: int = 1024 * 1024) -> LogPart | None:
    """Read whole lines as plain text, like `read_events`; None if there is no log."""
    part = read_events(path, offset=offset, limit=limit)
    if part is None:
        return None
    return LogPart(as_text(part.events), part.next_offset)


def as_text(events: Iterable[LogEvent]) -> str:
    """Give events as lines of plain text."""
    # Clean again: earlier versions removed fewer characters when they wrote the log.
    return "".join(f"{clean(event.line)}\n" for event in events)


def read_shown(file: BinaryIO, start: int, size: int) -> bytes:
    """Read a range of bytes of the log as plain text; it may begin and end inside a line.

    A line has the same length in plain text as on disk, and differs only in its envelope.
    """
    before = min(start, LONGEST_ENVELOPE)
    file.seek(start - before)
    data = file.read(before + size + LONGEST_ENVELOPE)
    # `rest` is the end of a line whose envelope is before the data read.
    rest, end, others = (b"", b"", data) if before == start else data.partition(b"\n")
    text = b"\n".join(map(shown_line, others.split(b"\n")))
    return (rest + end + text)[before : before + size]
