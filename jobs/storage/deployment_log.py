"""The file of a deployment's log: one event a line, in the form of `jobs.rules.log_events`.

It is bounded, with secrets masked, and without what a reader cannot see, before anything reaches
the disk.
"""

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
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

FILE_MODE = 0o640  # the web process, which shows it, may be another user in the folder's group
LARGEST_LOG_BYTES = 50 * 1024 * 1024
CUT_MARK = "the log is cut here: it reached 50 MiB"


def log_path(logs_dir: Path, deployment_id: int) -> Path:
    """Say where the log of a deployment is kept."""
    return logs_dir / f"{deployment_id}.log"


class DeploymentLog:
    """Appends to one deployment's log. Any thread may write.

    Raises:
        StorageError: it cannot be opened.
    """

    def __init__(self, path: Path, redact: Redactor, *, limit: int = LARGEST_LOG_BYTES) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            os.fchmod(self._file.fileno(), FILE_MODE)
        except OSError as exc:
            # GitHub is told, too: where the data directory lies is nobody's business there.
            name = f"{path.parent.name}/{path.name}"
            raise StorageError(f"the log {name} cannot be written: {exc.strerror}") from exc
        self._file.seek(0, 2)
        self._room = limit - self._file.tell()
        self.redact = redact
        self._lock = threading.Lock()

    def write(self, step: str, said: str | BuildEvent) -> None:
        """Add a text or a builder's event, each of its lines as an event of now and of the step."""
        told = said if isinstance(said, BuildEvent) else BuildEvent(EventKind.TEXT, said)
        at = now()
        lines = (
            LogEvent(at, step, each.kind, each.text, each.vertex, each.seconds)
            for each in self._pieces(told)
        )
        data = "".join(f"{encode(line)}\n" for line in lines).encode(errors="replace")
        with self._lock:
            if self._room <= 0:
                return
            self._room -= len(data)
            if self._room <= 0:
                data = f"{encode(LogEvent(at, step, EventKind.TEXT, CUT_MARK))}\n".encode()
            self._append(data)

    def _pieces(self, told: BuildEvent) -> Iterator[BuildEvent]:
        """Give an event of one line for each line of the text; a line that is too long has several.

        What goes on behind a vertex's name or error is an output of that vertex.
        """
        # Masked before it is cut: half a secret would not be recognised.
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
            # The log reports on the deed and must not break it, least of all its orderly end.
            self._room = 0
            logger.error("a deployment's log cannot be written: %s", exc.strerror)  # noqa: TRY400

    def close(self) -> None:
        """Close the file; nothing can be written any more."""
        self._file.close()


@dataclass(frozen=True)
class LogPart:
    """A piece of a log: whole lines, and where to go on reading."""

    text: str
    next_offset: int  # bytes


@dataclass(frozen=True)
class EventPart:
    """A piece of a log as events, and where to go on reading."""

    events: list[LogEvent]
    next_offset: int  # bytes


def read_events(path: Path, *, offset: int = 0, limit: int = 1024 * 1024) -> EventPart | None:
    """Read whole lines from an offset on, about `limit` bytes at most; None: there is no log.

    An offset inside a line gives the rest of that line as plain text: anybody can have written what
    stands there.
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
    """Read whole lines as plain text, as `read_events` does; None: there is no log."""
    part = read_events(path, offset=offset, limit=limit)
    if part is None:
        return None
    return LogPart(as_text(part.events), part.next_offset)


def as_text(events: Iterable[LogEvent]) -> str:
    """Give events as lines of plain text."""
    # An earlier version let more through when it wrote them.
    return "".join(f"{clean(event.line)}\n" for event in events)


def read_shown(file: BinaryIO, start: int, size: int) -> bytes:
    """Read bytes of the log as plain text, wherever in a line they begin and end.

    A line is as long in that text as on disk, and differs in its envelope only.
    """
    before = min(start, LONGEST_ENVELOPE)
    file.seek(start - before)
    data = file.read(before + size + LONGEST_ENVELOPE)
    # The rest of a line whose envelope ended before this.
    rest, end, others = (b"", b"", data) if before == start else data.partition(b"\n")
    text = b"\n".join(map(shown_line, others.split(b"\n")))
    return (rest + end + text)[before : before + size]
