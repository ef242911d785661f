"""/healthz and /readyz: alive, and able to work."""

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from jobs.processes.bus import Bus, connect
from receiver.api import health
from receiver.app import create_app
from tests.builders import WebRuntime

WELL = {"docker": "ok", "router": "ok"}


def test_a_process_that_lives_says_so(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_it_is_ready_when_every_part_is(client: TestClient, runtime: WebRuntime) -> None:
    runtime.bus.report_health(WELL)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert set(answer.json()["checks"]) == {"database", "redis", "docker", "router"}


@pytest.mark.parametrize(
    "reported", [{"docker": "permission denied: /var/run/docker.sock", "router": "ok"}, {}]
)
def test_what_the_watcher_finds_wrong_is_failed_but_pushes_are_accepted(
    client: TestClient, runtime: WebRuntime, reported: dict[str, str]
) -> None:
    runtime.bus.report_health(reported)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"]["docker"] == "failed"
    assert "docker.sock" not in answer.text


def test_a_silent_watcher_vouches_for_nothing(client: TestClient) -> None:
    checks = client.get("/readyz").json()["checks"]
    assert (checks["docker"], checks["router"]) == ("failed", "failed")


def test_without_redis_pushes_are_accepted_still(runtime: WebRuntime) -> None:
    nowhere = connect(f"unix://{runtime.settings.data_dir}/no-redis.sock")
    lonely = replace(runtime, bus=Bus(nowhere, runtime.identity))
    with TestClient(create_app(lonely)) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["redis"] == "failed"


def test_without_the_database_nothing_is_accepted(client: TestClient, runtime: WebRuntime) -> None:
    runtime.database.close()
    for path in runtime.settings.data_dir.glob("keystone.db*"):
        path.unlink()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "failed")
    assert client.get("/healthz").status_code == 200


def test_asking_again_and_again_looks_once_a_second(
    client: TestClient, runtime: WebRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health.KEPT_S == 1
    monkeypatch.setattr(health, "KEPT_S", 30)
    assert client.get("/readyz").json()["status"] == "degraded"
    runtime.bus.report_health(WELL)
    assert client.get("/readyz").json()["status"] == "degraded"
