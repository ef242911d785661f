"""Who may come in where: every route, tried by everybody. Made from the tables of routes."""

import re
from enum import StrEnum

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from jobs.states import Role
from receiver.access import SAFE_METHODS, Door
from receiver.endpoints import ENDPOINTS
from receiver.routing import Endpoint
from receiver.settings_pages import SETTINGS_PAGES
from tests.builders import WebRuntime
from tests.receiver.asking import Answered, Asked, ask
from tests.receiver.situations import SITUATIONS, Situation

PROBES = {"id": "999999", "app": "no-such-app", "name": "no-such-name"}
PLACE = re.compile(r"\{(\w+)(?::\w+)?\}")

# Every page, and who may see it. A page that is new has to be decided on here.
PAGES: dict[str, Role | None] = {
    "/apps/new": Role.ADMIN,
    "/apps/{app}/settings": Role.ADMIN,
    "/apps/{app}/settings/variables": Role.ADMIN,
    "/apps/{app}/settings/domains": Role.ADMIN,
    "/apps/{app}/settings/repository": Role.ADMIN,
    "/apps/{app}/settings/remove": Role.ADMIN,
    "/repositories": Role.ADMIN,
    "/certificates": Role.ADMIN,
    "/users": Role.ADMIN,
    "/tokens": Role.ADMIN,
    "/account": Role.VIEWER,
    "/": Role.VIEWER,
    "/apps/{app}": Role.VIEWER,
    "/deployments/{id:int}": Role.VIEWER,
    "/deployments/{id:int}/lines": Role.VIEWER,
    "/deployments/{id:int}/matches": Role.VIEWER,
    "/deliveries": Role.VIEWER,
    "/audit": Role.ADMIN,
    "/login": None,
    "/favicon.ico": None,
    "/favicon/{tone}.svg": None,
    "/static": None,
}

# Whoever logs out is gone.
LAST = "/logout"
TRIED = sorted((*ENDPOINTS, *SETTINGS_PAGES), key=lambda endpoint: endpoint.path == LAST)


class Verdict(StrEnum):
    """What becomes of a request at the door."""

    LET_IN = "let in"
    UNKNOWN = "401"
    FORBIDDEN = "403"
    NOT_MEANT = "403 csrf"
    TO_LOGIN = "303"


def verdict(answer: Answered) -> Verdict:
    """Read an answer; what comes after the door does not matter, but for a crash."""
    assert answer.status < 500 or answer.status == 503, answer
    if answer.header("location").startswith("/login?next="):
        return Verdict.TO_LOGIN
    if answer.status == 403:
        return Verdict.NOT_MEANT if answer.code == "csrf" else Verdict.FORBIDDEN
    return Verdict.UNKNOWN if answer.status == 401 else Verdict.LET_IN


def expected(endpoint: Endpoint, who: Situation) -> Verdict:
    """Say what must become of a request, from what the table says the route needs."""
    is_change = endpoint.method not in SAFE_METHODS
    match endpoint.needs:
        case Door.SIGNATURE:
            return Verdict.UNKNOWN
        case Door.TOKEN_OR_LOOPBACK:
            return Verdict.LET_IN if who.role else Verdict.UNKNOWN
        case Door.ANYONE:
            return Verdict.LET_IN
        case Role() if who.role is None:
            return Verdict.UNKNOWN
        case Role() if not who.role.includes(endpoint.needs):
            return Verdict.FORBIDDEN
        case _:
            return Verdict.NOT_MEANT if who.is_tricked and is_change else Verdict.LET_IN


def expected_page(needed: Role | None, who: Situation) -> Verdict:
    """Say what must become of somebody who asks for a page."""
    if needed is None:
        return Verdict.LET_IN
    if who.role is None:
        return Verdict.TO_LOGIN
    return Verdict.LET_IN if who.role.includes(needed) else Verdict.FORBIDDEN


def address(path: str) -> str:
    """Give an address of something that does not exist."""
    return PLACE.sub(lambda found: PROBES.get(found[1], "nothing.example"), path)


@pytest.mark.parametrize("who", SITUATIONS.values(), ids=list(SITUATIONS))
def test_everybody_comes_in_where_they_may_and_nowhere_else(
    client: TestClient, runtime: WebRuntime, who: Situation
) -> None:
    headers = {"content-type": "application/json", **who.arrive(runtime)}
    found, wanted = {}, {}
    for endpoint in TRIED:
        asked = Asked(endpoint.method, address(endpoint.path), headers)
        name = f"{endpoint.method} {endpoint.path}"
        found[name] = verdict(ask(client, asked))
        wanted[name] = expected(endpoint, who)
    assert found == wanted


@pytest.mark.parametrize("who", SITUATIONS.values(), ids=list(SITUATIONS))
def test_pages_are_shown_to_those_who_may_see_them(
    client: TestClient, runtime: WebRuntime, who: Situation
) -> None:
    headers = who.arrive(runtime)
    found = {path: verdict(ask(client, Asked("GET", address(path), headers))) for path in PAGES}
    assert found == {path: expected_page(needed, who) for path, needed in PAGES.items()}


def test_every_page_has_been_decided_on(client: TestClient) -> None:
    assert isinstance(client.app, Starlette)
    mounted = [route.app for route in client.app.routes if isinstance(route, Mount)]
    assert len(mounted) == 1
    assert isinstance(mounted[0], Starlette)
    paths = [route.path for route in mounted[0].routes if isinstance(route, Route | Mount)]
    assert sorted(paths) == sorted(PAGES)


def test_what_needs_no_role_is_exactly_this() -> None:
    doors = {
        f"{endpoint.method} {endpoint.path}": endpoint.needs
        for endpoint in ENDPOINTS
        if isinstance(endpoint.needs, Door)
    }
    assert doors == {
        "POST /webhooks/github": Door.SIGNATURE,
        "GET /metrics": Door.TOKEN_OR_LOOPBACK,
        "GET /healthz": Door.ANYONE,
        "GET /readyz": Door.ANYONE,
        "POST /login": Door.ANYONE,
        "GET /api/openapi.json": Door.ANYONE,
        "GET /api/docs": Door.ANYONE,
        "GET /api/docs.css": Door.ANYONE,
    }


def test_reading_never_changes_anything_by_its_method() -> None:
    """A GET is believed without a CSRF token, so nothing that changes may be one."""
    assert {endpoint.method for endpoint in ENDPOINTS} <= {"GET", "POST", "PUT", "PATCH", "DELETE"}
    assert all(endpoint.status == 200 for endpoint in ENDPOINTS if endpoint.method == "GET")
