"""Two kinds of log: what Keystone's processes say of themselves, and what a deployment's steps say.

A deployment's log is a text file of lines `2026-11-23T15:45:58.123Z build | text`: bounded, with
secrets masked, and without what a reader cannot see, before anything reaches the disk.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from jobs.ansi import clean, cut
from jobs.errors import StorageError
from jobs.models import now
from jobs.redaction import Redactor
from jobs.text import LINE_END, plain, shown_name

logger = logging.getLogger(__name__)

FILE_MODE = 0o640  # the web process, which shows it, may be another user in the folder's group
LARGEST_LOG_BYTES = 50 * 1024 * 1024
LONGEST_LINE = 4000
CUT_MARK = "the log is cut here: it reached 50 MiB"
MOST_PIECES = 8  # of one line: a tool that writes a megabyte on a line wrote no log
LEFT_OUT = "… the rest of this line is left out"
GOES_ON = "… "  # before each piece but the first of a line that is too long


def log_path(logs_dir: Path, deployment_id: int) -> Path:
    """Say where the log of a deployment is kept."""
    return logs_dir / f"{deployment_id}.log"


def masked(line: str, redact: Redactor) -> str:
    """Give a line without secrets, and without what a reader cannot see; its styles stay."""
    return clean(redact(line))


def shown(line: str, redact: Redactor) -> str:
    """Give a line as it may be shown; it is cut last, so that no cut leaves half a secret."""
    return cut(masked(line, redact), LONGEST_LINE)[0]


def _lines(text: str) -> list[str]:
    # Not what else Python takes for a line end, as a form feed: what a build says stands behind a
    # mark at the beginning of its line, and must not come to begin another one.
    *lines, rest = LINE_END.split(text)
    return [*lines, rest] if rest or not lines else lines


def _pieces(line: str) -> list[str]:
    if len(line) <= LONGEST_LINE:
        return [line]
    first, *others = cut(line, LONGEST_LINE)
    kept = [first, *(f"{GOES_ON}{piece}" for piece in others)]
    return [*kept[:MOST_PIECES], LEFT_OUT] if len(kept) > MOST_PIECES else kept


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

    def write(self, step: str, text: str) -> None:
        """Add text to the log, each of its lines stamped with the time and the step."""
        stamp = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # Masked before it is cut: half a secret would not be recognised.
        whole = (masked(line, self.redact) for line in _lines(text))
        lines = (piece for line in whole for piece in _pieces(line))
        data = "".join(f"{stamp} {step} | {line}\n" for line in lines).encode(errors="replace")
        with self._lock:
            if self._room <= 0:
                return
            self._room -= len(data)
            if self._room <= 0:
                data = f"{stamp} {step} | {CUT_MARK}\n".encode()
            self._append(data)

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


def read_log(path: Path, *, offset: int = 0, limit: int = 1024 * 1024) -> LogPart | None:
    """Read whole lines from an offset on, about `limit` bytes at most; None: there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(offset, 0))
            data = file.read(limit)
    except FileNotFoundError:
        return None
    end = data.rfind(b"\n") + 1
    # An earlier version let more through when it wrote them.
    lines = map(clean, data[:end].decode(errors="replace").split("\n"))
    return LogPart("\n".join(lines), max(offset, 0) + end)


# --- What processes say of themselves ------------------------------------------------------------

_MASKS: list[Redactor] = []  # for as long as a process works with more secrets than its own


@contextmanager
def masking(redact: Redactor) -> Iterator[None]:
    """Mask more secrets in whatever this process logs while the block runs."""
    _MASKS.append(redact)
    try:
        yield
    finally:
        _MASKS.remove(redact)


class RedactingFilter(logging.Filter):
    """Masks known secrets in whatever a process logs, tracebacks included."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the finished sentence; never drop one."""
        record.msg = self._shown(record.getMessage())
        record.args = ()
        if record.exc_info:
            record.exc_text = self._shown(logging.Formatter().formatException(record.exc_info))
        return True

    def _shown(self, text: str) -> str:
        for redact in (self._redact, *_MASKS):
            text = redact(text)
        return plain(text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: when, how bad, the sentence, and the machine-readable extras."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        entry: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created).astimezone().isoformat(),
            "level": record.levelname.lower(),
            "process": record.processName,
            "message": record.getMessage(),
        }
        for extra in ("action", "app", "deployment", "delivery"):
            if hasattr(record, extra):
                value = getattr(record, extra)
                entry[extra] = shown_name(value) if isinstance(value, str) else value
        if record.exc_info:
            # The filter has left the masked traceback here.
            entry["error"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def set_up_logging(redact: Redactor, *, level: int = logging.INFO) -> None:
    """Send this process's log to standard error, as JSON lines, with secrets masked."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter(redact))
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    sys.excepthook = _log_uncaught


def _log_uncaught(
    kind: type[BaseException], error: BaseException, where: TracebackType | None
) -> None:
    """Log what ends the process, where Python would print it with whatever it quotes."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
    else:
        logger.critical("the process ends by a mistake in it", exc_info=(kind, error, where))
