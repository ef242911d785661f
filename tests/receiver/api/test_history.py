"""/api/deliveries and /api/audit: newest first, page by page."""

import pytest
from starlette.testclient import TestClient

from tests.builders import WebRuntime, make_app, payload, signed, signed_push, webhook_secret


def test_a_delivery_leads_to_its_deployments(
    client: TestClient, viewer: TestClient, runtime: WebRuntime
) -> None:
    secret = webhook_secret(make_app(runtime))
    for request in (signed_push(secret), signed(secret, payload("ping"), event="ping")):
        client.post("/webhooks/github", content=request.body, headers=request.headers)
    ping, push = viewer.get("/api/deliveries").json()["items"]
    assert (ping["event"], ping["outcome"], ping["deployments"]) == ("ping", "pong", [])
    assert (push["event"], push["repository"], push["deployments"]) == ("push", "octo/web", [1])


def test_the_audit_trail_goes_backwards_page_by_page(
    admin: TestClient, runtime: WebRuntime
) -> None:
    make_app(runtime)
    first = admin.get("/api/audit?limit=2").json()
    second = admin.get(f"/api/audit?limit=2&before={first['next']}").json()
    ids = [row["id"] for row in first["items"] + second["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == len(ids) > 2
    tags = {row["tag"] for row in first["items"] + second["items"]}
    assert {"app.created", "repository.created"} <= tags


@pytest.mark.parametrize("path", ["/api/deliveries", "/api/audit"])
@pytest.mark.parametrize("query", ["limit=0", "limit=1000", "before=x", "page=2"])
def test_a_page_that_cannot_be_is_400(admin: TestClient, path: str, query: str) -> None:
    assert admin.get(f"{path}?{query}").status_code == 400


@pytest.mark.parametrize(
    ("query", "targets"),
    [
        ("actor=token:the-admin", ["token:b", "token:a"]),
        ("actor=token:the-admin&limit=1", ["token:b"]),
        ("target=token:a", ["token:a"]),
        ("tag=token.created&target=token:b", ["token:b"]),
        ("tag=token&actor=token:the-admin", ["token:b", "token:a"]),
        (
            "target=token:a&since=2000-01-01T00:00:00Z&until=2999-01-01T00:00:00%2B01:00",
            ["token:a"],
        ),
        ("target=token:a&until=2000-01-01T00:00:00Z", []),
        ("actor=token", []),
    ],
)
def test_the_audit_trail_is_narrowed_down(
    admin: TestClient, query: str, targets: list[str]
) -> None:
    for name in ("a", "b"):
        admin.post("/api/tokens", json={"name": name, "role": "viewer"})
    found = admin.get(f"/api/audit?{query}").json()["items"]
    assert [event["target"] for event in found] == targets


@pytest.mark.parametrize(
    "query",
    ["since=yesterday", "since=2026-11-23T00:00:00", "actor=", "tag=a%00b", "target=" + "x" * 201],
)
def test_a_filter_that_cannot_be_is_400(admin: TestClient, query: str) -> None:
    answer = admin.get(f"/api/audit?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]["message"]
