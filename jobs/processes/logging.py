"""The logs of Keystone's processes: JSON lines on standard error, with secrets masked."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, TextIO

from jobs.rules.redaction import Redactor
from jobs.rules.text import plain, shown_name

logger = logging.getLogger(__name__)
JOURNAL_LEVELS = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}
_MASKS: list[Redactor] = []  # in use while a process works with secrets besides its own


@contextmanager
def masking(redact: Redactor) -> Iterator[None]:
    """Mask additional secrets in everything this process logs while the block runs."""
    _MASKS.append(redact)
    try:
        yield
    finally:
        _MASKS.remove(redact)


class RedactingFilter(logging.Filter):
    """Masks known secrets in everything a process logs, including tracebacks."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the formatted message; never drop a record."""
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
    """Formats one JSON object per line: time, level, message, and machine-readable extras."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as one line."""
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


class JournalFormatter(JsonFormatter):
    """Formats lines whose level systemd's journal understands: `journalctl --priority=warning`.

    Source: sd-daemon(3), systemd.exec(5) at SyslogLevelPrefix (read 2026-11-30).
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as one line that begins with its level."""
        return f"<{JOURNAL_LEVELS.get(record.levelno, 6)}>{super().format(record)}"


def _is_journal(file: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether what is written to a file goes to systemd's journal."""
    try:
        found = os.fstat(file.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def set_up_logging(redact: Redactor, *, level: int = logging.INFO) -> None:
    """Send this process's log to standard error, as JSON lines, with secrets masked."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter(redact))
    in_journal = _is_journal(sys.stderr, os.environ)
    handler.setFormatter(JournalFormatter() if in_journal else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    sys.excepthook = _log_uncaught


def _log_uncaught(
    kind: type[BaseException], error: BaseException, where: TracebackType | None
) -> None:
    """Log an uncaught exception with secrets masked; Python would print it unmasked."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
    else:
        logger.critical("an uncaught error ended the process", exc_info=(kind, error, where))
