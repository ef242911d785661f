"""`keystone rotate-key`: what it says and with which code it ends, and what doctor says of keys."""

import os
from pathlib import Path

import pytest

from jobs.doctor.secrets_check import Health, keys_health
from jobs.processes.runtime import Runtime
from jobs.settings import AllSettings
from jobs.storage.vault import KEY_FILE
from tests.builders import make_app
from tests.jobs.cli.commands import Commands, Environ

Inside = Runtime[AllSettings]


@pytest.fixture
def app(inside: Inside) -> None:
    """An app whose repository has a token and a webhook secret."""
    make_app(inside, token="ghp_sealed")  # type: ignore[arg-type]  # more settings than it needs


def health(inside: Inside) -> Health:
    """Look at the keys as `keystone doctor` does."""
    with inside.database.reading() as session:
        return keys_health(session, inside.settings)


@pytest.mark.usefixtures("app")
def test_a_new_key_and_then_the_old_one_goes(
    keystone: Commands, inside: Inside, environ: Environ
) -> None:
    (old,) = inside.vault.fingerprints
    done = keystone("rotate-key")
    new = inside.vault.fingerprints[0]
    assert f"The new key is {new}. Stored secrets sealed anew: 2." in done.stdout
    assert f"Still kept: {old}. `keystone rotate-key --drop-old`" in done.stdout
    assert health(inside).found == f"{new} seals 2, {old} (older) 0"
    key_file = Path(environ["KEYSTONE_DATA_DIR"]) / KEY_FILE
    os.utime(key_file, (0, 0))
    assert keystone("rotate-key", "--drop-old").stdout == f"Dropped: {old}.\n"
    assert keystone("rotate-key", "--drop-old").stdout == "There is no older key to drop.\n"
    assert key_file.read_text() not in done.stdout + done.stderr
    assert health(inside).found == f"{new} seals 2"


@pytest.mark.usefixtures("app")
def test_programs_get_json(keystone: Commands, inside: Inside) -> None:
    done = keystone("rotate-key", "--json").json
    assert done["newest"] == inside.vault.fingerprints[0]
    assert (done["resealed"], done["is_new"], done["unreadable"]) == (2, True, 0)


def test_a_key_of_the_setting_is_the_persons_to_change(
    keystone: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYSTONE_SECRET_KEY", "a key of the setting")
    refused = keystone("rotate-key", code=2)
    assert "keystone: 3. run `keystone rotate-key` again" in refused.stderr
    assert "a key of the setting" not in refused.stderr


@pytest.mark.usefixtures("app")
def test_doctor_names_the_key_that_is_missing(
    keystone: Commands, inside: Inside, environ: Environ
) -> None:
    (old,) = inside.vault.fingerprints
    key_file = Path(environ["KEYSTONE_DATA_DIR"]) / KEY_FILE
    key_file.write_text("quite another key")
    told = health(inside)
    assert "another key, which is not here, 2" in told.found
    assert f"({old})" in told.fix
    assert "restore that file" in told.fix
    key_file.unlink()
    assert "is gone, and 2 stored secrets" in keystone("doctor", code=5).stdout
    assert "is gone" in keystone("app", "list", code=2).stderr
