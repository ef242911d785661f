"""Bodies that take long to read are not read by the event loop, where nobody else is served."""

import asyncio
import json
import threading

import pytest
from starlette.testclient import TestClient

from receiver.limits import KIB
from receiver.routing import READ_AT_ONCE, _parsed
from tests.builders import WebRuntime, make_app


@pytest.mark.parametrize(
    ("size", "is_in_thread"), [(READ_AT_ONCE, False), (READ_AT_ONCE + 1, True)]
)
def test_a_large_body_is_read_in_a_thread(size: int, *, is_in_thread: bool) -> None:
    async def read() -> bool:
        return await _parsed(lambda _: threading.get_ident(), b"x" * size) != threading.get_ident()

    assert asyncio.run(read()) is is_in_thread


def test_a_large_value_is_taken(admin: TestClient, runtime: WebRuntime) -> None:
    make_app(runtime)
    value = "1," * 20_000
    answer = admin.put("/api/apps/web/env/TABLE", json={"value": value, "secret": False})
    assert answer.status_code == 200
    assert admin.get("/api/apps/web/env/TABLE").json()["value"] == value


def test_a_stranger_has_no_more_read_than_a_login_needs(client: TestClient) -> None:
    body = json.dumps({"name": "ada", "password": "x" * 16 * KIB})
    answer = client.post("/login", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert "16 KiB" in answer.json()["error"]["message"]


def test_of_many_labels_the_first_mistake_is_told(admin: TestClient) -> None:
    app = {"name": "web", "repository": "octo/web", "labels": {f"l{n}": 1 for n in range(1000)}}
    answer = admin.post("/api/apps", json=app)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "labels: can have at most 50 entries"
