"""The result of one check of `keystone doctor`."""

from dataclasses import dataclass
from enum import StrEnum

PATIENCE_S = 5


class Verdict(StrEnum):
    """The verdict of one check."""

    OK = "ok"
    IDLE = "idle"  # not present, and not needed now: `keystone up` is not running
    WARNING = "warning"  # it works, but could be safer
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """The result of checking one thing.

    Attributes:
        found: a version, a path, or the problem.
        fix: what to do about the problem; empty if there is nothing to do.
    """

    name: str
    verdict: Verdict
    found: str
    fix: str = ""
