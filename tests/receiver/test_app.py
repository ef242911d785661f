"""The application as the web process starts it."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from jobs.errors import ConfigurationError
from receiver.app import create_app
from tests.builders import WebRuntime


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Give the process's logging back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("root_logger")
def test_it_starts_from_the_environment_alone(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSTONE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KEYSTONE_REDIS_URL", redis_url)
    with TestClient(create_app()) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").json()["checks"]["database"] == "ok"


@pytest.mark.usefixtures("root_logger")
def test_what_the_server_says_is_masked_too(
    tmp_path: Path,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSTONE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KEYSTONE_REDIS_URL", redis_url)
    monkeypatch.setenv("KEYSTONE_SECRET_KEY", "the newer of the keys,the older of the keys")
    server = logging.getLogger("uvicorn.error")
    server.addHandler(logging.StreamHandler())
    monkeypatch.setattr(server, "propagate", False)
    create_app()
    cause = ZeroDivisionError("the newer of the keys, or: the older of the keys")
    server.error("Exception in ASGI application", exc_info=cause)
    told = capsys.readouterr().err
    assert "[REDACTED], or: [REDACTED]" in told
    assert "of the keys" not in told


def test_wrong_settings_do_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSTONE_PROT", "8000")
    with pytest.raises(ConfigurationError, match="KEYSTONE_PROT"):
        create_app()


def test_the_tests_see_nothing_of_the_machines_own_keystone() -> None:
    assert [name for name in os.environ if name.startswith("KEYSTONE_")] == []


def test_pages_and_api_live_side_by_side(client: TestClient, runtime: WebRuntime) -> None:
    assert client.get("/login").headers["content-type"].startswith("text/html")
    assert client.get("/api/apps").headers["content-type"] == "application/json"
    assert client.get("/static/keystone.css").status_code == 200


def test_the_database_is_closed_at_the_end(runtime: WebRuntime) -> None:
    with TestClient(create_app(runtime)) as client:
        client.get("/readyz")
        before = runtime.database.reader_engine.pool
    # Disposing of an engine's connections gives it another pool.
    assert runtime.database.reader_engine.pool is not before
