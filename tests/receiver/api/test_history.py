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
