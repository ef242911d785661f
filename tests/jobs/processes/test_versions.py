"""The files that say which version runs, and which one shall run."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.processes import versions
from jobs.processes.versions import (
    NEXT,
    Next,
    Running,
    Undo,
    Version,
    failed_code,
    forget_failed,
    forget_next,
    note_failed,
    read_next,
    read_running,
    write_next,
    write_running,
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Version:
    return version(tmp_path, "aaa")


@pytest.fixture
def new(tmp_path: Path) -> Version:
    return version(tmp_path, "bbb")


def version(folder: Path, name: str) -> Version:
    """Make what a version consists of."""
    (folder / name / "jobs").mkdir(parents=True)
    (folder / "python").touch()
    return Version(str(folder / "python"), str(folder / name), "1.2.3", "0123456789abcdef", "0010")


def test_a_version_in_words_has_number_code_commit_and_schema(old: Version) -> None:
    assert old.in_words == "1.2.3 (code aaa, commit 0123456789, schema 0010)"
    assert replace(old, commit="").in_words == "1.2.3 (code aaa, schema 0010)"


def test_the_running_version_is_read_as_it_was_written(
    run_dir: Path, old: Version, new: Version
) -> None:
    assert read_running(run_dir) is None
    first = Running.now(old, "/srv", None)
    write_running(run_dir, first)
    assert read_running(run_dir) == first
    second = Running.now(new, "/srv", first)
    assert second.previous == old
    # Starting the same one again does not make it its own predecessor.
    assert Running.now(new, "/srv", second).previous == old


def test_the_next_version_is_read_as_it_was_written_until_it_is_forgotten(
    run_dir: Path, old: Version, new: Version
) -> None:
    for wanted in (Next(new), Next(old, Undo(new, "0010"), stops_web=True)):
        write_next(run_dir, wanted)
        assert read_next(run_dir) == wanted
    forget_next(run_dir)
    forget_next(run_dir)
    assert read_next(run_dir) is None


def test_a_version_that_was_removed_is_not_the_next_one(run_dir: Path, new: Version) -> None:
    write_next(run_dir, Next(new))
    Path(new.python).unlink()
    assert read_next(run_dir) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": {}, "undo": 1}'])
def test_what_cannot_be_read_is_nothing(run_dir: Path, text: str) -> None:
    for name in (versions.VERSION, NEXT, versions.FAILED):
        (run_dir / name).write_text(text)
    assert read_next(run_dir) is None
    assert read_running(run_dir) is None
    assert failed_code(run_dir) == ""


def test_a_file_that_others_can_write_is_not_believed(run_dir: Path, new: Version) -> None:
    write_next(run_dir, Next(new))
    assert (run_dir / NEXT).stat().st_mode & 0o777 == 0o600
    (run_dir / NEXT).chmod(0o666)
    assert read_next(run_dir) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_believed(run_dir: Path, new: Version) -> None:
    write_next(run_dir, Next(new))
    os.chown(run_dir / NEXT, 0, 0)
    assert read_next(run_dir) == Next(new)
    os.chown(run_dir / NEXT, 65534, 65534)
    assert read_next(run_dir) is None


def test_failed_code_is_known_until_it_is_tried_again(run_dir: Path, new: Version) -> None:
    note_failed(run_dir, new, "it was not ready")
    assert failed_code(run_dir) == "bbb"
    assert json.loads((run_dir / versions.FAILED).read_text())["reason"] == "it was not ready"
    forget_failed(run_dir)
    assert failed_code(run_dir) == ""
