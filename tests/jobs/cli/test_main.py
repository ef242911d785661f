"""The table of contents of the command line, its exit codes, and how quickly it answers."""

import os
import resource
import subprocess
import sys

import pytest

from jobs.cli.main import CONTENTS, Command, exit_code, load
from jobs.errors import (
    ConfigurationError,
    ConflictError,
    DeploymentError,
    GitHubError,
    InvalidTransitionError,
    KeystoneError,
    NoReleaseError,
    NotFoundError,
    QueueError,
    StorageError,
)
from tests.jobs.cli.commands import Commands


def command(name: str) -> Command:
    """Give a loaded command."""
    return load(name)


@pytest.mark.parametrize("name", CONTENTS)
def test_the_overview_says_what_the_command_itself_says(name: str) -> None:
    told = (command(name).help or "").strip().splitlines()[0]
    assert told == CONTENTS[name].help
    assert command(name).hidden == CONTENTS[name].hidden


def test_the_overview_lists_what_people_use_and_hides_the_parts(keystone: Commands) -> None:
    told = keystone("--help").stdout
    for name, entry in CONTENTS.items():
        assert (f"\n  {name} " in told) != entry.hidden
    assert "Exit codes: 0 done" in told


def cpu_of_children() -> float:
    """Give the processor's seconds that ended children have used: waiting for it is no fault."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_overview_comes_at_once() -> None:
    before = cpu_of_children()
    done = subprocess.run(
        [sys.executable, "-P", "-X", "importtime", "-m", "jobs.cli", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert cpu_of_children() - before < 5  # a tenth of that on a machine with nothing else to do
    for heavy in ("sqlalchemy", "redis", "docker", "rq"):
        assert f"| {heavy}\n" not in done.stderr.replace("  ", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), 2),
        (NotFoundError("x"), 3),
        (ConflictError("x"), 4),
        (InvalidTransitionError("x"), 4),
        (NoReleaseError("x"), 4),
        (QueueError("x"), 5),
        (StorageError("x"), 5),
        (GitHubError("x"), 5),
        (DeploymentError("x"), 1),
        (KeystoneError("x"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: KeystoneError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize("arguments", [("nonsense",), ("app", "add"), ("status", "--nonsense")])
def test_wrong_usage_exits_with_2(keystone: Commands, arguments: tuple[str, ...]) -> None:
    assert keystone(*arguments, code=2).stdout == ""


def test_all_mistakes_in_the_settings_are_told_together(
    keystone: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYSTONE_PORT", "many")
    monkeypatch.setenv("KEYSTONE_PROT", "8000")
    monkeypatch.setenv("KEYSTONE_SECRET_KEY_FILE", "/nowhere/at/all")
    for arguments in (("status",), ("up",), ("doctor",), ("web",), ("worker",), ("demo",)):
        told = keystone(*arguments, code=2).stderr.splitlines()
        assert len(told) == 3
        assert all(line.startswith("keystone: KEYSTONE_") for line in told)


def test_a_reader_that_goes_away_is_no_crash() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "jobs.cli", "config"],
        stdout=closed_pipe(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""


def closed_pipe() -> int:
    """Give the writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer
