"""The developer of the demo: a real repository, a compiled app, one commit a version."""

import subprocess
from pathlib import Path

import pytest

from jobs.demo.sample import NO_COMMIT, Sample
from jobs.errors import ConfigurationError
from tests.apart import only_root


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """The repository, in a folder with a space."""
    sample = Sample(tmp_path / "my sample")
    sample.prepare()
    return sample


def git(sample: Sample, *arguments: str) -> str:
    """Ask git about what can be cloned from the sample's URL."""
    done = subprocess.run(
        ["git", *arguments, sample.url], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


def test_each_commit_is_the_next_version_and_can_be_fetched(sample: Sample) -> None:
    first, second = sample.commit(), sample.commit()
    assert first.before == NO_COMMIT
    assert second.before == first.sha
    assert second.message == "Say that this is version 2"
    assert git(sample, "ls-remote", "--heads").split() == [second.sha, "refs/heads/main"]


def test_it_goes_on_where_it_was_the_last_time(sample: Sample, tmp_path: Path) -> None:
    first = sample.commit()
    again = Sample(tmp_path / "my sample")
    again.prepare()
    assert again.commit().before == first.sha


def test_the_app_is_a_static_program(sample: Sample, tmp_path: Path) -> None:
    # A program that needs a loader names it near its beginning; FROM scratch there is none.
    program = (tmp_path / "my sample" / "hello").read_bytes()
    assert program.startswith(b"\x7fELF")
    assert b"ld-linux" not in program[:4096]


def test_a_machine_without_a_compiler_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "git").symlink_to("/usr/bin/git")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="apt-get install gcc libc6-dev"):
        Sample(tmp_path / "sample").prepare()


@only_root
def test_a_group_may_read_it_and_no_more(tmp_path: Path) -> None:
    sample = Sample(tmp_path / "sample", readers=12345)
    sample.prepare()
    sample.commit()
    for path in (tmp_path / "sample").rglob("*"):
        found = path.stat()
        assert found.st_gid == 12345
        assert found.st_mode & 0o040, path
        assert not found.st_mode & 0o020, path
        assert bool(found.st_mode & 0o010) == bool(found.st_mode & 0o100), path
