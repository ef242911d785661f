"""Lists narrowed down: an app's history, the deliveries, the audit trail; their pages keep it."""

import re
from datetime import timedelta
from html import unescape

import pytest
from starlette.testclient import TestClient

from jobs.reads import paging
from jobs.states import DeliveryOutcome, DeploymentState, Trigger
from jobs.storage.database import Database
from tests.dashboard import rows
from tests.dashboard.scene import Scene
from tests.dashboard.site import page


def numbers(html: str) -> list[int]:
    return [int(n) for n in re.findall(r'class="number num"[^>]*>#(\d+)<', html)]


def older(html: str) -> str:
    found = re.search(r'rel="next" href="([^"#]+)', html)
    return unescape(found[1]) if found else ""


@pytest.fixture
def history(database: Database) -> None:
    """Sixty deployments; every third one failed, by Grace, of another branch."""
    with database.writing() as session:
        app = rows.add_app(session)
        for number in range(1, 61):
            odd = number % 3 == 0
            rows.add_deployment(
                session,
                app,
                state=DeploymentState.FAILURE if odd else DeploymentState.SUCCESS,
                trigger=Trigger.MANUAL if odd else Trigger.PUSH,
                author="Grace Hopper" if odd else "Ada Lovelace",
                ref="refs/heads/next" if odd else "refs/heads/main",
                commit_message=f"Change {number}",
                commit_sha=f"{number:040x}",
            )


# --- An app's history ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["state=failure", "trigger=manual", "author=grace", "text=NEXT", "state=failure&author=hopp"],
)
@pytest.mark.usefixtures("history")
def test_a_history_is_narrowed_down_and_its_pages_keep_it(client: TestClient, query: str) -> None:
    first = page(client, f"/apps/web?{query}")
    assert numbers(first) == list(range(60, 0, -3))
    assert older(first) == ""
    assert "Show all" in first
    assert numbers(page(client, f"/apps/web?{query}&before=31")) == list(range(30, 0, -3))


@pytest.mark.usefixtures("history")
def test_older_and_newest_keep_what_was_asked_for(client: TestClient) -> None:
    first = page(client, "/apps/web?trigger=push")
    second = page(client, older(first))
    assert numbers(first) + numbers(second) == [n for n in range(60, 0, -1) if n % 3]
    assert 'href="/apps/web?trigger=push#history">Newest' in second
    assert '<option value="push" selected>Push</option>' in second


@pytest.mark.parametrize(
    ("text", "found"), [("Change 7", [7]), (f"{42:040x}", [42]), ("no such thing", []), ("%", [])]
)
@pytest.mark.usefixtures("history")
def test_a_text_is_looked_for_in_message_ref_and_commit(
    client: TestClient, text: str, found: list[int]
) -> None:
    html = page(client, f"/apps/web?text={text.replace('%', '%25')}")
    assert numbers(html) == found
    assert ("No deployment matches." in html) is (not found)


@pytest.mark.parametrize("query", ["state=none", "trigger=x", "author=%00", "text=" + "y" * 900])
@pytest.mark.usefixtures("history")
def test_a_senseless_filter_breaks_nothing(client: TestClient, query: str) -> None:
    page(client, f"/apps/web?{query}")


def test_a_search_says_how_far_it_has_looked(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        rows.add_deployment(session, app, commit_message="the needle")
        for _ in range(paging.SEARCH_DEPTH + 5):
            rows.add_deployment(session, app, commit_sha="")
    html = page(client, "/apps/web?text=needle")
    assert numbers(html) == []
    assert "None of the 5,000 deployments that were searched matches." in html
    assert numbers(page(client, older(html))) == [1]


# --- Deliveries ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("repository=Octo/Web", 6),
        ("repository=octo/none", 0),
        ("outcome=ignored", 2),
        ("event=ping", 1),
        ("text=SKIP+CI", 1),
        ("text=importer", 1),
        ("outcome=ignored&text=feature", 1),
    ],
)
def test_deliveries_are_narrowed_down(
    client: TestClient, scene: Scene, query: str, count: int
) -> None:
    html = page(client, f"/deliveries?{query}")
    assert html.count('class="guid"') == count
    assert ("No delivery matches." in html) is (count == 0)


def test_older_deliveries_keep_the_filter(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        for place in range(70):
            ignored = DeliveryOutcome.IGNORED if place % 10 else DeliveryOutcome.QUEUED
            rows.add_delivery(session, app, outcome=ignored)
    first = page(client, "/deliveries?outcome=ignored&repository=octo/web")
    second = page(client, older(first))
    assert first.count('class="guid"') + second.count('class="guid"') == 63
    assert "Newest" in second


def test_the_page_says_where_a_refused_delivery_is_to_be_found(
    client: TestClient, scene: Scene
) -> None:
    html = page(client, "/deliveries?repository=octo/web")
    assert "It was refused" in html
    assert 'href="https://github.com/octo/web/settings/hooks"' in html
    assert "settings/hooks" not in page(client, "/deliveries?repository=octo/none")


# --- The audit trail -------------------------------------------------------------------------


def test_the_audit_trail_is_narrowed_down_by_thing_and_days(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        for back in range(9, -1, -1):
            ago = timedelta(days=back)
            rows.add_event(session, f"day.{'abcdefghij'[back]}", target="app:web", ago=ago)
        rows.add_event(session, "other.thing", target="app:other", ago=timedelta(0))

    def days(query: str) -> str:
        return "".join(re.findall(r"<code>day\.(\w)</code>", page(client, f"/audit?{query}")))

    day = re.findall(r'datetime="([^T]+)T', page(client, "/audit?target=app:web"))
    assert days("target=app:web") == "abcdefghij"
    assert days("target=app:none") == ""
    assert days(f"since={day[3]}") == "abcd"
    assert days(f"until={day[3]}") == "defghij"
    assert days(f"since={day[5]}&until={day[3]}&target=app:web") == "def"
    assert days("since=yesterday&until=2026-99-99") == "abcdefghij"
