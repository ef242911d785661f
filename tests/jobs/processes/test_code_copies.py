"""The copies of the code that Keystone's parts run from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.errors import StorageError
from jobs.processes import code_copies
from jobs.processes.code_copies import FOLDER, digest_of, is_copy, keep_only, this_version
from jobs.processes.hand_over import code_first
from jobs.storage.migrations.apply import HEAD
from jobs.system.installation import PACKAGES


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a little code."""
    folder = tmp_path / "checkout"
    for package in PACKAGES:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(f"NAME = {package!r}\n")
    (folder / "dashboard" / "style.css").write_text("a {}")
    monkeypatch.setattr(code_copies, "code_folder", lambda: folder)
    return folder


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


def test_the_copy_has_everything_compiled_and_everybody_inside_may_read_it(
    source: Path, data_dir: Path
) -> None:
    before = os.umask(0o077)
    try:
        found = this_version(data_dir)
    finally:
        os.umask(before)
    code = Path(found.code)
    assert code == data_dir / FOLDER / digest_of(source)
    assert is_copy(code, data_dir)
    assert not is_copy(source, data_dir)
    assert (found.schema, found.name) == (HEAD, "0.1.0")
    assert (code / "dashboard" / "style.css").read_text() == "a {}"
    assert list((code / "jobs" / "__pycache__").glob("__init__.*.pyc"))
    for path in [code.parent, code, *code.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_python_imports_from_the_copy(source: Path, data_dir: Path, tmp_path: Path) -> None:
    assert source.is_dir()
    found = this_version(data_dir)
    shutil.rmtree(source)
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import jobs; print(jobs.__file__)"],
        env=code_first(found, {}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == f"{found.code}/jobs/__init__.py"


def test_the_same_code_is_copied_once_and_other_code_beside_it(
    source: Path, data_dir: Path
) -> None:
    first = this_version(data_dir)
    made = Path(first.code).stat().st_mtime_ns
    assert this_version(data_dir) == first
    assert Path(first.code).stat().st_mtime_ns == made
    (source / "jobs" / "more.py").write_text("MORE = 1\n")
    second = this_version(data_dir)
    assert second.code != first.code
    assert len(list((data_dir / FOLDER).iterdir())) == 2


def test_a_keystone_that_runs_from_a_copy_makes_no_other(
    source: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source.is_dir()
    first = this_version(data_dir)
    monkeypatch.setattr(code_copies, "code_folder", lambda: Path(first.code))
    assert this_version(data_dir) == first


def test_only_the_copies_that_are_needed_or_used_stay(source: Path, data_dir: Path) -> None:
    made = []
    for number in range(3):
        (source / "jobs" / "more.py").write_text(f"MORE = {number}\n")
        made.append(this_version(data_dir))
    (data_dir / FOLDER / f"{code_copies.DRAFT}x").mkdir()
    used = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        env=code_first(made[1], {}),
        stdin=subprocess.PIPE,
    )
    with used:
        keep_only(data_dir, [made[2].code])
        names = {path.name for path in (data_dir / FOLDER).iterdir()}
        assert names == {Path(made[1].code).name, Path(made[2].code).name}
        used.kill()
    keep_only(data_dir, [made[2].code])
    assert [str(path) for path in (data_dir / FOLDER).iterdir()] == [made[2].code]


def test_a_copy_that_cannot_be_written_is_a_sentence(source: Path, data_dir: Path) -> None:
    assert source.is_dir()
    (data_dir / FOLDER).write_text("in the way")
    with pytest.raises(StorageError, match="the code cannot be copied to"):
        this_version(data_dir)
