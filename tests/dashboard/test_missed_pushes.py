"""The deliveries page says how the search for missed pushes goes."""

from datetime import timedelta

from starlette.testclient import TestClient

from jobs.states import CatchUpWay
from jobs.storage.database import Database
from jobs.storage.models import CatchUp, now
from tests.dashboard import rows


def test_a_page_without_any_search_says_so(client: TestClient) -> None:
    assert "Missed pushes: no repository was asked yet." in client.get("/deliveries").text


def test_the_way_and_the_trouble_are_shown_harmlessly(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        session.add(
            CatchUp(
                repository_id=app.repository_id,
                way=CatchUpWay.DELIVERIES,
                looked_at=now(),
                settled_until=now() - timedelta(hours=5),
                problem="<script>alert(1)</script>",
            )
        )
    html = client.get("/deliveries").text
    assert "1 repository asked, 1 by GitHub&#39;s list of deliveries" in html
    assert "octo/web: &lt;script&gt;" in html
