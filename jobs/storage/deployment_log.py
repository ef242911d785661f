"""Two kinds of log: what Keystone's processes say of themselves, and what a deployment's steps say.

A deployment's log is a text file of lines `2026-11-23T15:45:58.123Z build | text`: bounded, with
secrets masked, and without what a reader cannot see, before anything reaches the disk.
"""

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import StorageError
from jobs.rules.ansi import clean
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

    def write(self, step: str, text: str) -> None:
        """Add text to the log, each of its lines stamped with the time and the step."""
        stamp = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # Masked before it is cut: half a secret would not be recognised.
        whole = (masked(line, self.redact) for line in lines_of(text))
        lines = (piece for line in whole for piece in pieces_of(line))
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
