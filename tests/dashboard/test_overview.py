"""The overview: what wants a person, what goes on, and apps in pages that stay small."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from jobs.states import CatchUpWay, ContainerState, DeploymentState, StepState
from jobs.storage.database import Database
from jobs.storage.models import CatchUp, Vitals, now
from tests.dashboard import rows
from tests.dashboard.scene import Scene
from tests.dashboard.site import page

KB = 1024


def part(html: str, name: str) -> str:
    """Give what a person reads of one part of the page."""
    found = re.search(rf'data-live="{name}".*?(?=<div class="head"|\Z)', html, re.DOTALL)
    words = re.sub(r"<svg.*?</svg>|<[^>]+>", " ", found[0] if found else "", flags=re.DOTALL)
    return " ".join(unescape(words).split())


def apps_on(html: str) -> list[str]:
    return re.findall(r'<h2><a href="/apps/([^"]+)"', html)


def keep_vitals(database: Database, **columns: object) -> None:
    wanted: dict[str, Any] = {
        "workers": 2,
        "disk_free": 41_200_000_000,
        "disk_total": 10**12,
        "problems": {},
        **columns,
    }
    with database.writing() as session:
        session.merge(Vitals(**wanted))


# --- The machine -----------------------------------------------------------------------------


def test_queue_workers_and_disk_are_told(
    client: TestClient, scene: Scene, database: Database
) -> None:
    keep_vitals(database, engine_free=8_500_000_000)
    with database.writing() as session:
        app = rows.add_app(session, "late")
        for ago in (90, 30):
            waits = DeploymentState.QUEUED
            rows.add_deployment(session, app, state=waits, ago=timedelta(seconds=ago))
    told = part(page(client, "/"), "machine")
    assert re.search(r"Queue 2 waiting, the first for (1 min [345]|[2-9] min )\d+ s", told)
    assert "Workers 1 busy of 2" in told
    assert "Disk 8.5 GB free" in told


def test_an_old_look_is_not_believed(client: TestClient, scene: Scene, database: Database) -> None:
    keep_vitals(database, at=now() - timedelta(minutes=5))
    html = page(client, "/")
    assert "GB free" not in html
    assert "The watcher" in part(html, "glance")
    assert "has been silent" in part(html, "glance")


def test_a_running_deployment_is_shown_with_its_step(client: TestClient, scene: Scene) -> None:
    html = page(client, "/")
    assert f'href="/deployments/{scene.running}"><b>shop #27</b>' in html
    assert re.search(r"Going on 1 shop #27 Build (\d+ min )?\d+ s", part(html, "glance"))


def test_the_title_says_how_the_apps_stand(client: TestClient, database: Database) -> None:
    assert "<title>Overview · Keystone</title>" in page(client, "/")
    with database.writing() as session:
        for name, state in (
            ("a", "restarting"),
            ("b", "restarting"),
            ("c", "exited"),
            ("d", "running"),
        ):
            app = rows.add_app(session, name, container_state=ContainerState(state))
            rows.make_live(session, app, rows.add_deployment(session, app))
    assert "<title>2 failing, 1 stopped · Overview · Keystone</title>" in page(client, "/")
    with database.writing() as session:
        app = rows.add_app(session, "e")
        rows.add_deployment(session, app, state=DeploymentState.RUNNING)
    assert "<title>2 failing, 1 stopped, 1 deploying · Overview" in page(client, "/?q=nothing")


# --- What wants a person ---------------------------------------------------------------------


def test_what_wants_a_person_stands_above_the_apps(client: TestClient, scene: Scene) -> None:
    html = page(client, "/")
    told = part(html, "glance")
    assert html.index("Needs attention") < html.index("<article")
    assert "importer its container exited with code 137" in told
    assert "web deployment #11 failed" in told
    assert "importer auto-deploy is paused: rolled back to v11" in told


def test_many_concerns_are_cut_short_with_a_way_to_all_of_them(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        rows.add_app(session, "well")
        for place in range(10):
            stopped = ContainerState.EXITED
            app = rows.add_app(session, f"app-{place}", container_state=stopped)
            rows.make_live(session, app, rows.add_deployment(session, app))
    html = page(client, "/")
    assert '<a class="out" href="/?state=attention">4 more</a>' in html
    assert apps_on(page(client, "/?state=attention")) == [f"app-{place}" for place in range(10)]


def test_concerns_without_an_app_are_listed_too(client: TestClient, database: Database) -> None:
    repositories = [f"octo/r{place}" for place in range(9)]
    with database.writing() as session:
        for place, repository in enumerate(repositories):
            app = rows.add_app(session, f"app-{place}", repository=repository)
            session.add(
                CatchUp(
                    repository_id=app.repository_id,
                    way=CatchUpWay.DELIVERIES,
                    looked_at=now(),
                    settled_until=now(),
                    missed=2,
                    found="#2 of web is queued",
                )
            )
    told = part(page(client, "/"), "glance")
    assert [name for name in repositories if f"{name} " in told] == repositories[:6]
    assert "2 pushes were missed: #2 of web is queued" in told
    assert "3 more" in told
    html = page(client, "/?state=attention")
    told = part(html, "glance")
    assert [name for name in repositories if f"{name} " in told] == repositories
    assert " more" not in told
    assert "No app needs attention." in html


@pytest.mark.parametrize(
    ("missed", "found"),
    [
        (None, ""),
        (0, ""),
        (0, "main is compared from now on; the first deployment is yours to begin"),
        (0, "2 apps are compared from now on"),
    ],
)
def test_a_search_that_found_nothing_wants_nobody(
    client: TestClient, database: Database, missed: int | None, found: str
) -> None:
    with database.writing() as session:
        app = rows.add_app(session, "web", repository="octo/web")
        way = CatchUpWay.BRANCH_HEAD
        session.add(
            CatchUp(
                repository_id=app.repository_id,
                way=way,
                looked_at=now(),
                settled_until=now(),
                missed=missed,
                found=found,
            )
        )
    assert "octo/web" not in part(page(client, "/"), "glance")


# --- Finding an app --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=SHO", ["shop"]),
        ("state=stopped", ["importer"]),
        ("state=running&q=d", ["docs"]),
        ("state=attention", ["api", "importer", "web"]),
        ("q=nothing", []),
    ],
)
def test_apps_are_found_by_name_and_state(
    client: TestClient, scene: Scene, query: str, found: list[str]
) -> None:
    html = page(client, f"/?{query}")
    assert apps_on(html) == found
    assert 'href="/">Show all 6</a>' in html


@pytest.mark.parametrize("query", ["state=none", "after=zzzz&after=", "q=%00", "state=%3Cb%3E"])
def test_a_senseless_query_breaks_nothing(client: TestClient, scene: Scene, query: str) -> None:
    page(client, f"/?{query}")


def test_pages_of_apps_meet_and_keep_what_was_asked_for(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        for place in range(45):
            rows.add_app(session, f"app-{place:02}", repository=f"octo/r{place}")
        rows.add_app(session, "other")
    address, seen = "/?q=app", []
    while address:
        html = page(client, address)
        seen += apps_on(html)
        more = re.search(r'rel="next" href="([^"]+)"', html)
        address = unescape(more[1]) if more else ""
    assert seen == [f"app-{place:02}" for place in range(45)]
    assert unescape(html).count('href="/?q=app">First') == 1


def test_a_full_page_stays_within_60_kb(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        for place in range(24):
            app = rows.add_app(session, f"app-{place}-{'x' * 40}", repository=f"octo/r{place}")
            for _ in range(20):
                deployment = rows.add_deployment(session, app, commit_message="m" * 80)
            rows.make_live(session, app, deployment)
            running = rows.add_deployment(session, app, state=DeploymentState.RUNNING)
            rows.add_steps(session, running, 1, last=StepState.RUNNING)
    assert 30 * KB < len(client.get("/").content) <= 60 * KB
