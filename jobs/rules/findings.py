"""What `keystone doctor` says of one thing."""

from dataclasses import dataclass
from enum import StrEnum

PATIENCE_S = 5


class Verdict(StrEnum):
    """How one thing stands."""

    OK = "ok"
    IDLE = "idle"  # not there now, and need not be: `keystone up` is not running
    WARNING = "warning"  # it works, and could be safer
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        found: a version, a path, or what is wrong.
        fix: what to do about it; empty when nothing needs doing.
    """

    name: str
    verdict: Verdict
    found: str
    fix: str = ""
