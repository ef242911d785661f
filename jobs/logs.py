"""Two kinds of log: what Keystone's processes say of themselves, and what a deployment's steps say.

A deployment's log is a text file of lines `2026-11-23T15:45:58.123Z build | text`: bounded, with
secrets masked and terminal control characters removed before anything reaches the disk.
"""

import json
import logging
import os
import re
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.errors import StorageError
from jobs.models import now
from jobs.redaction import Redactor

logger = logging.getLogger(__name__)

FILE_MODE = 0o640  # the web process, which shows it, may be another user in the folder's group
LARGEST_LOG_BYTES = 50 * 1024 * 1024
LONGEST_LINE = 4000
CUT_MARK = "the log is cut here: it reached 50 MiB"
# Colours (SGR) may stay; every other escape sequence and control character goes. The lone ESC comes
# last: without it, taking one sequence out of another would put a third one together.
CONTROL = re.compile(
    r"\x1b\[(?![0-9;]*m)[0-?]*[ -/]*[@-~]|\x1b\].*?(?:\x07|\x1b\\|$)|\x1b[^\[\]\x1b]|"
    r"\x1b(?!\[[0-9;]*m)|"
    r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Not what else Python takes for one, as a form feed: what a build says stands behind a mark at the
# beginning of its line, and must not come to begin another one.
LINE_END = re.compile(r"\r\n|\r|\n")
GOES_ON = "… "  # before each piece but the first of a line that is too long


def log_path(logs_dir: Path, deployment_id: int) -> Path:
    """Say where the log of a deployment is kept."""
    return logs_dir / f"{deployment_id}.log"


def clean(text: str) -> str:
    """Take out of a line what could play tricks on a terminal or a reader; colours stay."""
    return CONTROL.sub("", text)


def plain(text: str) -> str:
    """Give a line without colours, too: its words alone."""
    # Taken out they might leave another sequence behind, so all is cleaned again.
    return clean(COLOURS.sub("", clean(text)))


def masked(line: str, redact: Redactor) -> str:
    """Give a line without tricks and secrets; no control character may hide a secret."""
    return redact(clean(line))


def shown(line: str, redact: Redactor) -> str:
    """Give a line as it may be shown; it is cut last, so that no cut leaves half a secret."""
    return masked(line, redact)[:LONGEST_LINE]


def _lines(text: str) -> list[str]:
    *lines, rest = LINE_END.split(text)
    return [*lines, rest] if rest or not lines else lines


def _pieces(line: str) -> list[str]:
    starts = range(0, len(line) or 1, LONGEST_LINE)
    return [GOES_ON * (start > 0) + line[start : start + LONGEST_LINE] for start in starts]


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
    return LogPart(data[:end].decode(errors="replace"), max(offset, 0) + end)


class RedactingFilter(logging.Filter):
    """Masks known secrets in whatever a process logs, tracebacks included."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the finished sentence; never drop one."""
        record.msg = self._redact(record.getMessage())
        record.args = ()
        if record.exc_info:
            record.exc_text = self._redact(logging.Formatter().formatException(record.exc_info))
        return True


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
        for name in ("action", "app", "deployment", "delivery"):
            if hasattr(record, name):
                entry[name] = getattr(record, name)
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
