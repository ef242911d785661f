"""Every change the API offers, made once, in one Keystone: is it on record, and as described?

The list is compared with the table of routes, so that a new change has to be told here too.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import pytest
from sqlmodel import col, select
from starlette.testclient import TestClient

from jobs.reads.apps import find_app
from jobs.reads.views import AuditEventView
from jobs.states import DeploymentState
from jobs.storage.models import AuditEvent, Deployment
from receiver.access import CSRF_HEADER, SAFE_METHODS
from receiver.endpoints import ENDPOINTS
from receiver.openapi import describe
from receiver.routing import Endpoint
from tests.builders import PASSWORD, WebRuntime, make_live, payload, set_state, signed
from tests.certificates import Authority

DOMAIN = "app.example.com"
PAT = "ghp_planted-repository-token"
VALUE = "planted-value-of-a-variable"
WEBHOOK_SECRET = "planted-webhook-secret"
NEW_PASSWORD = "a planted new password"
ISSUED = Authority().issue(DOMAIN)
PLANTED = (PAT, VALUE, WEBHOOK_SECRET, PASSWORD, NEW_PASSWORD, ISSUED.key.decode(), "ks_")
DOCUMENT = describe(ENDPOINTS, version="1.2.3")
# Where the watcher makes the change; its own tests look at what it writes down.
ELSEWHERE = {("POST", "/api/apps/{app}/hook")}


def nothing(_runtime: WebRuntime) -> None:
    """Prepare nothing."""


def two_releases(runtime: WebRuntime) -> None:
    """Have two releases go live, so that there is one to go back to."""
    make_live(runtime)
    make_live(runtime)


def nothing_open(runtime: WebRuntime) -> None:
    """Have every deployment be over."""
    with runtime.database.reading() as session:
        ids = session.exec(select(Deployment.id)).all()
    for deployment_id in ids:
        set_state(runtime, deployment_id or 0, DeploymentState.CANCELLED)


def no_app(runtime: WebRuntime) -> None:
    """Have the app be gone as an earlier version left it: without its repository."""
    with runtime.database.writing() as session:
        session.delete(find_app(session, "web"))


@dataclass(frozen=True)
class Change:
    """One change: where, what is sent, and what the audit trail must say of it."""

    method: str
    path: str
    tag: str
    body: object = None
    who: str = "token:the-admin"
    prepare: Callable[[WebRuntime], None] = nothing


BOB = "user:bob"
STORY = (
    Change("POST", "/api/apps", "app.created", {"name": "web", "repository": "octo/web"}),
    Change("PATCH", "/api/apps/{app}", "app.changed", {"health_timeout_s": 60}),
    Change(
        "PUT",
        "/api/apps/{app}/env/{variable}",
        "environment.set",
        {"value": VALUE, "secret": True},
    ),
    Change("POST", "/api/apps/{app}/env", "environment.set", {"text": f"TOKEN={VALUE}\n"}),
    Change("DELETE", "/api/apps/{app}/env/{variable}", "environment.unset"),
    Change("POST", "/api/apps/{app}/deployments", "deployment.requested", {}),
    Change("POST", "/api/deployments/{id}/cancel", "deployment.cancelled"),
    Change("POST", "/api/apps/{app}/rollback", "deployment.requested", {}, prepare=two_releases),
    Change(
        "PUT",
        "/api/certificates/{domain}",
        "certificate.set",
        {"certificate": ISSUED.certificate.decode(), "key": ISSUED.key.decode()},
    ),
    Change("DELETE", "/api/certificates/{domain}", "certificate.removed"),
    Change("PATCH", "/api/repositories/{id}", "repository.identified", {"github_id": 186853002}),
    Change("PUT", "/api/repositories/{id}/token", "repository.token_set", {"token": PAT}),
    Change("POST", "/api/repositories/{id}/webhook-secret", "repository.", {}),
    Change("DELETE", "/api/repositories/{id}/webhook-secret/previous", "repository."),
    Change("DELETE", "/api/repositories/{id}/webhook-secret", "repository."),
    Change(
        "PUT", "/api/repositories/{id}/webhook-secret", "repository.", {"secret": WEBHOOK_SECRET}
    ),
    Change(
        "POST",
        "/api/users",
        "user.created",
        {"name": "bob", "role": "viewer", "password": PASSWORD},
    ),
    Change("POST", "/login", "login.succeeded", {"name": "bob", "password": PASSWORD}, BOB),
    Change(
        "POST",
        "/api/account/password",
        "user.changed",
        {"present_password": PASSWORD, "password": NEW_PASSWORD},
        BOB,
    ),
    Change("POST", "/logout", "login.ended", {}, BOB),
    Change("PATCH", "/api/users/{name}", "user.changed", {"role": "deployer"}),
    Change("DELETE", "/api/users/{name}/sessions", "login.all_ended"),
    Change("DELETE", "/api/users/{name}", "user.removed"),
    Change("POST", "/api/tokens", "token.created", {"name": "bob", "role": "viewer"}),
    Change("DELETE", "/api/tokens/{name}", "token.revoked"),
    Change("DELETE", "/api/repositories/{id}", "repository.removed", prepare=no_app),
    Change("POST", "/api/apps", "app.created", {"name": "web", "repository": "octo/web"}),
    Change("DELETE", "/api/apps/{app}", "app.removed", prepare=nothing_open),
)
PLACES = {"app": "web", "id": "1", "domain": DOMAIN, "variable": "GREETING", "name": "bob"}


@dataclass
class World:
    """The Keystone the story is told in."""

    runtime: WebRuntime
    admin: TestClient
    browser: TestClient

    def make(self, change: Change) -> list[AuditEventView]:
        """Make a change and see that it is answered as described; gives what was written down."""
        change.prepare(self.runtime)
        before = len(self.events())
        client = self.browser if change.who == BOB else self.admin
        path = change.path.format(**PLACES)
        answer = client.request(change.method, path, json=change.body)
        assert answer.status_code < 300, (change, answer.text)
        if "csrf_token" in answer.text:
            self.browser.headers[CSRF_HEADER] = answer.json()["csrf_token"]
        ensure_described(change.method, change.path, answer.status_code, answer.content)
        return self.events()[before:]

    def events(self) -> list[AuditEventView]:
        """Give everything that is on record, oldest first."""
        with self.runtime.database.reading() as session:
            rows = session.exec(select(AuditEvent).order_by(col(AuditEvent.id))).all()
        return [AuditEventView.model_validate(row, from_attributes=True) for row in rows]


@pytest.fixture
def world(client: TestClient, runtime: WebRuntime, admin: TestClient) -> World:
    return World(runtime, admin, client)


def ensure_described(method: str, path: str, status: int, body: bytes) -> None:
    """Make sure that an answer is one of those that the document tells of."""
    described = DOCUMENT["paths"][path][method.lower()]["responses"]
    assert str(status) in described, f"{method} {path} answered {status}, which is not described"
    content: Mapping[str, Any] = described[str(status)].get("content", {})
    if "application/json" not in content:
        assert bool(body) == bool(content)
        return
    schema = {**content["application/json"]["schema"], "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(schema).validate(json.loads(body))


def is_change(endpoint: Endpoint) -> bool:
    """Whether the endpoint is a person's or a program's to change something with."""
    return endpoint.method not in SAFE_METHODS and endpoint.path != "/webhooks/github"


def test_the_story_tells_of_every_change_there_is() -> None:
    told = {(change.method, change.path) for change in STORY}
    assert told | ELSEWHERE == {(each.method, each.path) for each in ENDPOINTS if is_change(each)}


def test_every_change_is_on_record_with_who_and_from_where(world: World) -> None:
    for change in STORY:
        made = [event for event in world.make(change) if event.tag.startswith(change.tag)]
        assert made, f"nothing tells of {change.method} {change.path}"
        assert {event.actor for event in made} == {change.who}, change
        assert {event.address for event in made} == {"testclient"}, change
        assert all(event.target for event in made), change
    told = "".join(event.model_dump_json() for event in world.events())
    assert [secret for secret in PLANTED if secret in told] == []


def test_everything_that_can_be_read_is_as_described(world: World) -> None:
    request = signed(world.runtime.settings.webhook_secret, payload("ping"), event="ping")
    world.browser.post("/webhooks/github", content=request.body, headers=request.headers)
    for change in STORY[:3]:
        world.make(change)
    make_live(world.runtime)
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET" or not isinstance(endpoint.gives, type):
            continue
        answer = world.admin.get(endpoint.path.format(**PLACES))
        ensure_described("GET", endpoint.path, answer.status_code, answer.content)
        assert [secret for secret in PLANTED if secret in answer.text] == [], endpoint.path
