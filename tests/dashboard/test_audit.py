"""The audit trail: for admins, in pages, narrowed down by who and what."""

import re
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from dashboard.pages.audit import details_of
from jobs.reads.views import AuditEventView
from jobs.states import Role
from jobs.storage.database import Database
from jobs.storage.models import now
from tests.dashboard import rows
from tests.dashboard.scene import Scene
from tests.dashboard.site import ADA, Door, page


def tags(html: str) -> list[str]:
    return re.findall(r"<code>([a-z_.%]+)</code></a></td>", html)


def test_the_trail_says_who_did_what_to_which_thing_and_from_where(
    client: TestClient, scene: Scene
) -> None:
    html = page(client, "/audit")
    assert len(tags(html)) == 9
    assert tags(html)[0] == "deployment.requested"
    assert f'href="/deployments/{scene.running}">shop #27</a>' in html
    assert 'href="/apps/web">web</a>' in html
    assert "203.0.113.7" in html
    assert "names DATABASE_URL, STRIPE_KEY" in html


def test_what_was_before_and_after_is_said_for_people() -> None:
    event = AuditEventView(
        id=1,
        at=now(),
        tag="environment.set",
        actor="user:ada",
        target="app:web",
        address="",
        details={"before": {"A": None}, "after": {"A": "secret", "B": "plain"}},
    )
    assert details_of(event) == "after A: secret, B: plain, before A: none"


def test_what_is_gone_is_named_and_leads_nowhere(client: TestClient, scene: Scene) -> None:
    html = page(client, "/audit")
    assert "app:old-site" in html
    assert "/apps/old-site" not in html


@pytest.mark.parametrize("target", ["deployment:", "deployment:99", f"deployment:{2**70}", "x", ""])
def test_an_odd_target_breaks_nothing(client: TestClient, database: Database, target: str) -> None:
    with database.writing() as session:
        rows.add_event(session, "odd.event", target=target)
    assert tags(page(client, "/audit")) == ["odd.event"]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.DEPLOYER])
def test_only_admins_see_the_audit_page_and_others_get_the_reason(
    client: TestClient, door: Door, scene: Scene, role: Role
) -> None:
    door.visitor = replace(ADA, role=role)
    html = page(client, "/audit", 403)
    assert f"Your role is {role}; this needs admin" in html
    assert tags(html) == []
    assert 'href="/audit"' not in html


def test_the_address_narrows_it_down_by_tag_and_by_actor(client: TestClient, scene: Scene) -> None:
    assert set(tags(page(client, "/audit?tag=login"))) == {"login.succeeded", "login.failed"}
    assert tags(page(client, "/audit?tag=app.changed")) == ["app.changed"]
    assert tags(page(client, "/audit?actor=token:ci")) == ["environment.set"]
    assert tags(page(client, "/audit?tag=app&actor=cli:root")) == ["app.created"]
    assert 'value="token:ci"' in page(client, "/audit?actor=token:ci")


@pytest.mark.parametrize("query", ["tag=%25", "tag=_ser", "actor=user", "tag=" + "x" * 5000])
def test_a_filter_is_no_pattern(client: TestClient, scene: Scene, query: str) -> None:
    html = page(client, f"/audit?{query}")
    assert tags(html) == []
    assert "No event matches." in html


def test_older_events_keep_the_filter(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        for _ in range(60):
            rows.add_event(session, "app.changed", actor="user:a&b")
            rows.add_event(session, "login.failed", actor="user:a&b")
    first = page(client, "/audit?tag=app&actor=user%3Aa%26b")
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    second = page(client, older[1].replace("&amp;", "&"))
    assert tags(first) == ["app.changed"] * 50
    assert tags(second) == ["app.changed"] * 10
    newest = re.search(r'href="([^"]+)">Newest<', second)
    assert newest
    assert tags(page(client, newest[1].replace("&amp;", "&"))) == ["app.changed"] * 50


@pytest.mark.parametrize(
    ("address", "href", "kind"),
    [
        ("/", "/", "page"),
        ("/apps/web", "/", "true"),
        ("/deliveries", "/deliveries", "page"),
        ("/audit", "/audit", "page"),
    ],
)
def test_the_navigation_shows_where_one_is(
    client: TestClient, scene: Scene, address: str, href: str, kind: str
) -> None:
    html = page(client, address)
    assert re.findall(r'<a href="([^"]+)" aria-current="(\w+)"', html) == [(href, kind)]
