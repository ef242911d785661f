"""Runs the checks of `keystone doctor` apart from each other: one that crashes takes no other."""

import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from jobs.rules.findings import Finding, Verdict

Check = tuple[str, Callable[[], Finding | Sequence[Finding]]]

ROOT = Path(__file__).parents[2]
FIX = "this is a mistake in Keystone: please report this line; the other checks are not affected"


def run_checks(checks: Iterable[Check]) -> list[Finding]:
    """Run the checks one after the other, each with the name that it has if it crashes.

    Raises:
        PermissionError, KeystoneError: this user may not read Keystone's files: all the others
            would fail in the same way.
    """
    return [finding for name, check in checks for finding in _run(name, check)]


def _run(name: str, check: Callable[[], Finding | Sequence[Finding]]) -> Sequence[Finding]:
    try:
        found = check()
    except Exception as exc:
        if isinstance(exc, PermissionError) or isinstance(exc.__cause__, PermissionError):
            raise
        # Not the message: it may quote anything, such as a URL with a password.
        told = f"the check itself failed: {type(exc).__name__} in {_place(exc)}"
        return [Finding(name, Verdict.FAILED, told, FIX)]
    return [found] if isinstance(found, Finding) else found


def _place(error: Exception) -> str:
    """Give the innermost line of our own code, such as "jobs/doctor/checks.py:12"."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _is_ours(Path(frame.filename))]
    last = (ours or frames)[-1]
    path = Path(last.filename)
    return f"{path.relative_to(ROOT) if _is_ours(path) else path.name}:{last.lineno}"


def _is_ours(path: Path) -> bool:
    return path.is_relative_to(ROOT / "jobs")
