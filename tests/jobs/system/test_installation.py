"""Where Keystone is installed."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.system.installation import (
    LOCK_DIGEST,
    commit_of,
    has_its_packages,
    lasting_program,
    python,
)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of `make setup`, started through the link."""
    made = tmp_path / ".venvs" / "0123456789abcdef"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").symlink_to("/usr/bin/python3")
    (tmp_path / ".venv").symlink_to(".venvs/0123456789abcdef")
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    return made


def test_processes_use_the_environment_itself_and_what_lasts_uses_the_link(
    environment: Path, tmp_path: Path
) -> None:
    assert python() == str(environment / "bin" / "python")
    assert lasting_program() == tmp_path / ".venv" / "bin" / "keystone"


def test_another_environment_is_named_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    assert python() == str(tmp_path / "venv" / "bin" / "python")
    assert lasting_program() == tmp_path / "venv" / "bin" / "keystone"


def test_code_with_another_lock_file_needs_other_packages(
    environment: Path, tmp_path: Path
) -> None:
    assert has_its_packages(tmp_path)  # unknown
    (tmp_path / "requirements.lock").write_text("one==1\n")
    assert has_its_packages(tmp_path)  # an environment that `make setup` did not make
    digest = hashlib.sha256(b"one==1\n").hexdigest()
    (environment / LOCK_DIGEST).write_text(f"{digest}\n")
    assert has_its_packages(tmp_path)
    (tmp_path / "requirements.lock").write_text("one==2\n")
    assert not has_its_packages(tmp_path)


def test_the_commit_is_known_in_a_clone_a_worktree_and_nowhere_else(tmp_path: Path) -> None:
    def git(folder: Path, *words: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    clone, tree = tmp_path / "clone", tmp_path / "tree"
    clone.mkdir()
    assert commit_of(clone) == ""
    git(clone, "init", "-q")
    assert commit_of(clone) == ""
    git(clone, "commit", "-q", "--allow-empty", "-m", "one")
    commit = git(clone, "rev-parse", "HEAD")
    assert commit_of(clone) == commit
    git(clone, "pack-refs", "--all")
    assert commit_of(clone) == commit
    git(clone, "worktree", "add", "-q", str(tree), "-b", "other")
    assert commit_of(tree) == commit
    git(clone, "checkout", "-q", "--detach")
    assert commit_of(clone) == commit
