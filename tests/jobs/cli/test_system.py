"""`keystone doctor`, `config` and `migrate`."""

from pathlib import Path

import pytest

from jobs.settings import AllSettings
from jobs.storage.migrations.apply import HEAD
from tests.haproxy import free_ports
from tests.jobs.cli.commands import Commands, Environ

SECRET = "a-secret-nobody-may-see"


def test_config_lists_every_setting_and_no_secret(
    keystone: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYSTONE_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("KEYSTONE_DATABASE_URL", f"postgresql+psycopg://ada:{SECRET}@db/keystone")
    values = keystone("config", "--json").json
    assert set(values) == {f"KEYSTONE_{name.upper()}" for name in AllSettings.model_fields}
    assert values["KEYSTONE_WEBHOOK_SECRET"] == "set"
    assert values["KEYSTONE_GITHUB_TOKEN"] == "not set"
    table = keystone("config").stdout
    assert "How many deployments may run at once" in table
    assert SECRET not in table + str(values)


def test_migrate_makes_the_database(unfounded: Commands, environ: Environ) -> None:
    assert "has schema" in unfounded("migrate").stdout
    assert Path(environ["KEYSTONE_DATA_DIR"], "keystone.db").stat().st_mode & 0o077 == 0


def test_a_program_is_told_the_schema(keystone: Commands) -> None:
    assert keystone("migrate", "--json").json == {"schema": HEAD}
    assert keystone("migrate").stdout == f"The database has schema {HEAD}.\n"


@pytest.mark.docker
def test_a_machine_that_has_everything_is_well(
    keystone: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYSTONE_PORT", str(free_ports(1)[0]))
    keystone("migrate")
    findings = {item["name"]: item for item in keystone("doctor", "--json").json["items"]}
    for name in ("python", "git", "haproxy", "docker", "redis", "database", "disk", "app ports"):
        assert findings[name]["verdict"] == "ok", findings[name]
    assert findings["docker"]["found"].startswith("Docker Engine ")
    assert findings["router"]["verdict"] == "idle"
    assert "starts with `keystone up`" in keystone("doctor").stdout


def test_what_does_not_answer_is_told_with_its_remedy(
    keystone: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYSTONE_REDIS_URL", "unix:///nowhere/at/all.sock")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    told = keystone("doctor", code=5).stdout
    assert "redis: correct KEYSTONE_REDIS_URL" in told
    assert "docker: DOCKER_HOST names the engine" in told
