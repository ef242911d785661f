"""Tells a flaky test from a broken one: each test that failed is run once more, alone.

A run of all tests, told by the variable `FAILED_TESTS` where to, writes down which of them failed
(`FirstRun`, a plugin of pytest). Afterwards `python -m tests.again FILE` runs each of those in a
pytest of its own. What passes then is named in a line `FLAKY: <test>` and fails nothing; a second
failure fails the run. Nothing else is run again, and no list of flaky tests is kept anywhere.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

VARIABLE = "FAILED_TESTS"
# More than that are no accident, and would be run one after the other.
MOST_RUN_AGAIN = 20
AGAIN_WITHIN_S = 900

RunAlone = Callable[[str], bool]


@dataclass(eq=False)  # pytest keeps its plugins in sets
class FirstRun:
    """Collects the tests that failed, and whether anything else went wrong."""

    file: Path
    failed: list[str] = field(default_factory=list)
    is_collected: bool = True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that could not be read: its tests cannot be run again."""
        self.is_collected &= not report.failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that failed, in its fixtures too."""
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write down what is known; a run that was broken off tells nothing."""
        is_whole = self.is_collected and exitstatus == pytest.ExitCode.TESTS_FAILED
        self.file.write_text(json.dumps(self.failed if is_whole else []))


def plugin() -> FirstRun | None:
    """Give the plugin for a run that is to be judged; None for any other run."""
    file = os.environ.get(VARIABLE)
    return FirstRun(Path(file)) if file else None


def run_alone(test: str) -> bool:
    """Run one test in a pytest of its own, with nothing beside it; gives whether it passed."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, "-m", "pytest", test]
    try:
        done = subprocess.run(command, env=environment, timeout=AGAIN_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == pytest.ExitCode.OK


def judge(failed: Sequence[str], run: RunAlone = run_alone) -> tuple[int, list[str]]:
    """Run each failed test once more.

    Returns:
        The exit code of the whole run, and the lines that it ends with.
    """
    if not failed:
        return 1, ["The run was broken off before its tests could be judged."]
    if len(failed) > MOST_RUN_AGAIN:
        return 1, [f"{len(failed)} tests failed: too many to be flaky, so none was run again."]
    broken = [test for test in failed if not run(test)]
    lines = [f"BROKEN: {test}" for test in broken]
    lines += [f"FLAKY: {test}" for test in failed if test not in broken]
    return (1 if broken else 0), lines


def main(file: Path) -> int:
    """Judge the run that wrote the file."""
    noted = file.read_text() if file.exists() else ""
    code, lines = judge(json.loads(noted or "[]"))
    print(*lines, sep="\n")  # noqa: T201 — what the run ends with
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
