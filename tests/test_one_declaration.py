"""A setting is declared once: one that is added there is known to every door."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKS = ("tests/jobs/imaginary.py", "tests/jobs/cli/imaginary.py", "tests/receiver/imaginary.py")


def own_environment() -> dict[str, str]:
    """Give the environment without what tells a run of pytest that it is part of another one."""
    names = os.environ.keys() - {"FAILED_TESTS"}
    return {name: os.environ[name] for name in names if not name.startswith("PYTEST_")}


def test_an_imaginary_setting_is_found_at_every_door() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.one_setting", *CHECKS],
        cwd=ROOT,
        env=own_environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
    assert "6 passed" in ended.stdout
