"""A start with a key missing is refused with what to do; one that nobody needs may be gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import delete

from jobs.errors import ConfigurationError
from jobs.processes.runtime import open_runtime
from jobs.settings import WebSettings
from jobs.storage.models import RepositorySecret, VaultKey
from jobs.storage.vault import KEY_FILE, fingerprint
from tests.builders import WebRuntime, make_app

OLD, NEW, OTHER = "the old key of the setting", "the new key of the setting", "a key of nobody's"


def open_at(folder: Path, *keys: str) -> WebRuntime:
    return open_runtime(WebSettings(data_dir=folder, secret_key=SecretStr(",".join(keys))))


def fill(folder: Path, *keys: str, app: str = "web") -> None:
    """Seal two secrets: a token and what GitHub signs with."""
    keystone = open_at(folder, *keys)
    make_app(keystone, name=app, repository=f"octo/{app}", token="ghp_sealed")
    keystone.database.close()


def refusal(folder: Path, *keys: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        open_at(folder, *keys)
    for key in (*keys, OLD):
        assert key not in str(caught.value)
    return str(caught.value)


def name(key: str) -> str:
    return fingerprint(SecretStr(key))


def test_another_key_in_the_setting(tmp_path: Path) -> None:
    fill(tmp_path, OLD)
    told = refusal(tmp_path, OTHER)
    assert told.startswith(f"2 stored secrets are sealed with another key ({name(OLD)})")
    assert "add that key to the setting, after the present one and a comma" in told


def test_another_key_in_the_file(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / KEY_FILE).write_text(OTHER)
    assert f"those of {tmp_path / KEY_FILE}: restore that file" in refusal(tmp_path)


def test_a_file_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / KEY_FILE).unlink()
    assert f"{tmp_path / KEY_FILE} is gone, and 2 stored secrets" in refusal(tmp_path)
    assert not (tmp_path / KEY_FILE).exists()


def test_a_key_that_is_still_in_the_file_is_found_there(tmp_path: Path) -> None:
    fill(tmp_path)
    assert f"it is the one in {tmp_path / KEY_FILE}; add it" in refusal(tmp_path, NEW)


def test_one_of_several_that_is_missing(tmp_path: Path) -> None:
    fill(tmp_path, OLD)
    fill(tmp_path, NEW, OLD, app="shop")
    assert f"2 stored secrets are sealed with another key ({name(OLD)})" in refusal(tmp_path, NEW)
    open_at(tmp_path, NEW, OLD).database.close()
    open_at(tmp_path, OTHER, NEW, OLD).database.close()


def test_a_key_that_seals_nothing_may_be_gone(tmp_path: Path) -> None:
    open_at(tmp_path, OLD).database.close()
    fill(tmp_path, NEW)
    open_at(tmp_path, NEW).database.close()


def test_a_database_from_before_the_names_of_keys_is_looked_through_once(tmp_path: Path) -> None:
    fill(tmp_path, OLD)
    keystone = open_at(tmp_path, OLD)
    with keystone.database.writing() as session:
        session.exec(delete(VaultKey))
    keystone.database.close()
    assert "that is not known by name" in refusal(tmp_path, OTHER)
    keystone = open_at(tmp_path, NEW, OLD)
    with keystone.database.reading() as session:
        assert session.get(VaultKey, name(OLD)) is not None
    keystone.database.close()


def test_when_the_secrets_are_gone_any_key_will_do(tmp_path: Path) -> None:
    fill(tmp_path, OLD)
    keystone = open_at(tmp_path, OLD)
    with keystone.database.writing() as session:
        session.exec(delete(RepositorySecret))
    keystone.database.close()
    open_at(tmp_path, OTHER).database.close()


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "jobs.cli", "worker"],
        ["-m", "jobs.cli", "watcher"],
        ["-m", "jobs.cli", "web"],
        ["-m", "jobs.cli", "up"],
        ["-m", "jobs.cli", "env", "list", "web"],
    ],
    ids=lambda command: str(command[2]),
)
def test_every_process_ends_with_the_sentence(tmp_path: Path, command: list[str]) -> None:
    fill(tmp_path, OLD)
    environ = {
        "PATH": os.environ["PATH"],
        "KEYSTONE_DATA_DIR": str(tmp_path),
        "KEYSTONE_SECRET_KEY": OTHER,
        "KEYSTONE_PORT": "1",  # where nobody listens, and nobody gets to listen
        "KEYSTONE_REDIS_URL": f"unix://{tmp_path}/none.sock",
    }
    done = subprocess.run(
        [sys.executable, "-P", *command],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"2 stored secrets are sealed with another key ({name(OLD)})" in done.stderr
    assert "Traceback" not in done.stderr
