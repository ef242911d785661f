"""A flaky test passes the run and is named; a broken one fails it. Tried with a real pytest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import again

ROOT = Path(__file__).parents[1]

FLAKY = """
from pathlib import Path

def test_passes_the_second_time():
    seen = Path(__file__).with_name("seen")
    is_first = not seen.exists()
    seen.touch()
    assert not is_first

def test_is_right():
    pass
"""
BROKEN = "def test_is_wrong():\n    assert False\n"
BROKEN_FIXTURE = """
import pytest

@pytest.fixture
def house():
    raise OSError("no house")

def test_needs_a_house(house):
    pass
"""
UNREADABLE = "import a_module_that_is_not_there\n"


def first_run(folder: Path, *options: str) -> list[str]:
    """Run what lies in the folder as CI does, and give what it notes."""
    (folder / "conftest.py").write_text(
        "from tests import again\n"
        "def pytest_configure(config):\n"
        "    if not hasattr(config, 'workerinput') and (found := again.plugin()):\n"
        "        config.pluginmanager.register(found)\n"
    )
    noted = folder / "failed.json"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, f"--rootdir={folder}", *options, "."],
        cwd=folder,
        env={**os.environ, again.VARIABLE: str(noted), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    found: list[str] = json.loads(noted.read_text())
    return found


@pytest.mark.parametrize("options", [(), ("--numprocesses=2",)])
def test_what_failed_is_noted_by_name(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "test_flaky.py").write_text(FLAKY)
    (tmp_path / "test_broken.py").write_text(BROKEN)
    (tmp_path / "test_fixture.py").write_text(BROKEN_FIXTURE)
    assert sorted(first_run(tmp_path, *options)) == [
        "test_broken.py::test_is_wrong",
        "test_fixture.py::test_needs_a_house",
        "test_flaky.py::test_passes_the_second_time",
    ]


@pytest.mark.parametrize("options", [(), ("--numprocesses=2",)])
def test_a_file_that_cannot_be_read_is_no_failed_test(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "test_broken.py").write_text(BROKEN)
    (tmp_path / "test_unreadable.py").write_text(UNREADABLE)
    assert first_run(tmp_path, *options) == []


def test_each_is_run_alone_once_and_only_a_second_failure_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_flaky.py").write_text(FLAKY)
    (tmp_path / "seen").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_ADDOPTS", f"-c {os.devnull} --rootdir={tmp_path}")
    flaky, broken = "test_flaky.py::test_passes_the_second_time", "test_broken.py::test_is_wrong"
    assert again.judge([flaky]) == (0, [f"FLAKY: {flaky}"])
    (tmp_path / "test_broken.py").write_text(BROKEN)
    assert again.judge([flaky, broken]) == (1, [f"BROKEN: {broken}", f"FLAKY: {flaky}"])


def test_a_run_that_was_broken_off_fails() -> None:
    code, lines = again.judge([], run=lambda _: True)
    assert code == 1
    assert "broken off" in lines[0]


def test_very_many_failures_are_not_run_again() -> None:
    ran: list[str] = []

    def run(test: str) -> bool:
        ran.append(test)
        return True

    code, lines = again.judge([f"test_{n}" for n in range(again.MOST_RUN_AGAIN + 1)], run=run)
    assert (code, ran) == (1, [])
    assert "too many" in lines[0]


def test_main_says_it_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert again.main(tmp_path / "not-written.json") == 1
    assert "broken off" in capsys.readouterr().out
