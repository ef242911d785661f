"""`keystone backup` and `keystone restore`, as people and programs run them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from jobs.doctor.checks import examine
from jobs.processes.runtime import Runtime
from jobs.rules.findings import Finding, Verdict
from jobs.settings import AllSettings
from tests.jobs.cli.commands import Commands, Environ

Inside = Runtime[AllSettings]


@pytest.fixture
def file(keystone: Commands, tmp_path: Path) -> Path:
    """Make a backup of a Keystone with an app, its variable a secret."""
    keystone("app", "add", "web", "--repository", "octo/web")
    keystone("env", "set", "web", "API_KEY", "--secret", stdin="an api key nobody sees")
    made = tmp_path / "backup.tar.gz"
    keystone("backup", str(made))
    return made


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the commands speak of another data directory from now on."""
    there = tmp_path / "there"
    monkeypatch.setenv("KEYSTONE_DATA_DIR", str(there))
    return there


def test_backup_prints_its_contents_and_how_to_store_it(keystone: Commands, file: Path) -> None:
    told = keystone("backup", str(file), "--force").stdout
    assert f"{file} holds the database (schema " in told
    assert "keep it like a password" in told
    bare = keystone("backup", str(file), "--force", "--without-key").stdout
    assert "the key" not in bare.partition("holds")[2].partition(":")[0]
    assert "worth nothing without the key" in bare


def test_a_program_gets_the_contents_of_a_backup(
    keystone: Commands, inside: Inside, file: Path
) -> None:
    told = keystone("backup", str(file), "--force", "--json").json
    assert told["identity"] == inside.identity
    assert told["files"].keys() == {"keystone.db", "secret.key"}
    assert len(told["files"]["keystone.db"]["sha256"]) == 64


def test_a_backup_is_recorded_and_doctor_shows_its_time(
    keystone: Commands, inside: Inside, tmp_path: Path
) -> None:
    assert _of_backups(inside).verdict is Verdict.IDLE
    keystone("backup", str(tmp_path / "backup.tar.gz"))
    assert _of_backups(inside).found.startswith("the last one was made 20")


def _of_backups(inside: Inside) -> Finding:
    (found,) = [each for each in examine(inside.settings) if each.name == "backup"]
    return found


def test_an_existing_backup_is_not_overwritten(keystone: Commands, file: Path) -> None:
    before = file.read_bytes()
    assert "is there already" in keystone("backup", str(file), code=4).stderr
    assert file.read_bytes() == before


def test_a_backup_is_restored_elsewhere_with_its_secrets(
    keystone: Commands, file: Path, elsewhere: Path
) -> None:
    told = keystone("restore", str(file)).stdout
    assert told.startswith("Restored from the backup of 20")
    assert "log in again" in told
    assert keystone("app", "show", "web", "--json").json["repository"] == "octo/web"
    assert keystone("env", "list", "web", "--json").json["items"][0]["secret"] is True
    assert (elsewhere / "secret.key").exists()


def test_restore_keeps_existing_data_without_force(keystone: Commands, file: Path) -> None:
    keystone("app", "add", "later", "--repository", "octo/later")
    assert "say --force" in keystone("restore", str(file), code=4).stderr
    # This process still has the database open, which a restore does not put up with.
    assert "still uses the database" in keystone("restore", str(file), "--force", code=4).stderr
    keystone("app", "show", "later")


def test_another_key_is_refused_before_anything_changes(
    keystone: Commands, file: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYSTONE_SECRET_KEY", "not the key that it was sealed with")
    refused = keystone("restore", str(file), code=2)
    assert "does not open the secrets in this backup" in refused.stderr
    assert not (elsewhere / "keystone.db").exists()


@pytest.mark.parametrize("content", [b"", b"not a backup at all", b"\x1f\x8b\x08\x00cut off"])
def test_a_file_that_is_no_backup_is_refused(
    keystone: Commands, tmp_path: Path, elsewhere: Path, content: bytes
) -> None:
    (tmp_path / "junk").write_bytes(content)
    assert "damaged" in keystone("restore", str(tmp_path / "junk"), code=1).stderr
    assert not (elsewhere / "keystone.db").exists()
    assert "cannot be read" in keystone("restore", str(tmp_path / "gone"), code=2).stderr


def test_a_backup_through_a_pipe_is_restored_and_moves_old_data_aside(
    environ: Environ, file: Path, tmp_path: Path
) -> None:
    assert file.exists()
    made = run("backup", "-", environ=environ)
    assert b"keep it like a password" in made.stderr
    there = environ | {"KEYSTONE_DATA_DIR": str(tmp_path / "there")}
    restored = run("restore", "-", environ=there, stdin=made.stdout)
    assert restored.stdout.startswith(b"Restored from the backup")
    assert (tmp_path / "there" / "keystone.db").exists()
    again = run("restore", str(file), "--force", "--json", environ=there)
    (moved,) = map(Path, json.loads(again.stdout)["moved"])
    assert moved.name.startswith("keystone.db.before-")
    assert moved.exists()


def test_a_full_disk_is_told_with_a_sentence(environ: Environ, file: Path) -> None:
    assert file.exists()
    with Path("/dev/full").open("wb") as full:
        refused = run("backup", "-", environ=environ, stdout=full, code=5)
    told = b"keystone: standard output cannot be written: No space left on device\n"
    assert refused.stderr == told


def run(
    *arguments: str,
    environ: Environ,
    stdin: bytes = b"",
    stdout: IO[bytes] | int = subprocess.PIPE,
    code: int = 0,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command as a process of its own, whose standard streams are real."""
    finished = subprocess.run(
        [sys.executable, "-P", "-m", "jobs.cli", *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        cwd="/",
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    assert finished.returncode == code, finished
    return finished
