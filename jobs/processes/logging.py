"""What Keystone's processes say of themselves: JSON lines on standard error, secrets masked."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any

from jobs.rules.redaction import Redactor
from jobs.rules.text import plain, shown_name

logger = logging.getLogger(__name__)
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
