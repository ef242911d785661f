"""Every page over HTTP, on a real database."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from dashboard.app import routes
from dashboard.pages.login import safe_next
from jobs.errors import StorageError
from jobs.settings import Settings
from jobs.states import ContainerState, DeploymentState, Kind, Refusal, Role, StepState, Trigger
from jobs.storage.database import Database
from jobs.storage.deployment_log import log_path
from jobs.storage.models import RefusedDelivery
from tests.dashboard import rows
from tests.dashboard.scene import BUILD_FAILED, Scene
from tests.dashboard.site import ADA, Door, page

HOSTILE = "<img src=x onerror=alert(1)>\"'`</title><script>alert(2)</script>"

APP = re.compile(r'href="/apps/([^"]+)"')


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """Collect the statements that the reading connection is given."""
    seen: list[str] = []

    def listen(*arguments: object) -> None:
        seen.append(str(arguments[2]))

    event.listen(database.reader_engine, "before_cursor_execute", listen)
    yield seen
    event.remove(database.reader_engine, "before_cursor_execute", listen)


# --- What the pages show ---------------------------------------------------------------------


def test_the_first_page_of_a_new_keystone_teaches_the_first_app(client: TestClient) -> None:
    html = page(client, "/")
    assert "keystone app add" in html
    assert "https://deploy.example/webhooks/github" in html
    assert "<b>secret, this once</b>" in html
    assert "Contents: read" in html


def test_the_overview_shows_how_every_app_stands(client: TestClient, scene: Scene) -> None:
    html = page(client, "/")
    for name in ("shop", "web", "importer", "status-page"):
        assert f'href="/apps/{name}"' in html
    assert "out of memory at 512 MB" in html
    assert f'href="/deployments/{scene.running}">#27</a>' in html
    assert re.search(r"#27</a>\s*<span class=\"clip\">Build</span>", html)
    assert "Nothing is live yet" in html
    assert "Its container exited with code 1, again and again" in html
    assert 'href="/favicon/bad.svg"' in html


def test_the_overview_marks_what_is_paused_or_needs_a_redeploy(
    client: TestClient, scene: Scene
) -> None:
    html = page(client, "/")
    cards = {name: card for card in html.split("<article")[1:] for name in APP.findall(card)[:1]}
    assert "paused: rolled back to v11 by user:grace" in cards["importer"]
    assert "needs redeploy" in cards["web"]
    for name in ("shop", "docs", "status-page"):
        assert 'class="marks"' not in cards[name]


def test_an_apps_page_shows_its_history_and_settings(client: TestClient, scene: Scene) -> None:
    html = page(client, "/apps/web")
    assert BUILD_FAILED in html
    assert f'href="/deployments/{scene.failed}"' in html
    assert 'data-action="/api/apps/web/deployments"' in html
    assert "GET /, within 30 s" in html
    assert "web deploys main, not feature/login" in html


def test_history_is_paged_backwards_without_gaps(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        for _ in range(45):
            rows.add_deployment(session, app)
    address, seen = "/apps/web", []
    for _ in range(3):
        html = page(client, address)
        seen += [int(n) for n in re.findall(r'class="number num"[^>]*>#(\d+)<', html)]
        older = re.search(r'rel="next" href="([^"]+)"', html)
        address = older[1] if older else ""
    assert seen == list(range(45, 0, -1))
    assert address == ""


def test_a_deployments_page_shows_its_steps_facts_statuses_and_log(
    client: TestClient, scene: Scene
) -> None:
    html = page(client, f"/deployments/{scene.succeeded}")
    for words in ("Health check", "Retire", "refs/heads/main", "Deployment #26: live", ">live<"):
        assert words in html
    assert '<div id="L1" data-step="Checkout"><a href="#L1">1</a><time' not in html  # it is no news
    assert '<div id="L1"><a href="#L1">1</a><time' in html
    assert "<summary>Health check<small>2 lines</small></summary>" in html
    assert "1 of 3 cached" in html
    assert '<span class="c2">200</span>' in html
    assert 'data-done="yes"' in html
    assert "/cancel" not in html
    assert re.search(r'class="named">.*\[internal\] load build', html)
    assert re.search(r'class="cached">.*#2 CACHED', html)
    assert re.search(r'class="done">.*#3 DONE 0.1s', html)


def test_a_failed_deployment_says_why_first(client: TestClient, scene: Scene) -> None:
    html = page(client, f"/deployments/{scene.failed}")
    assert html.index('role="alert"') < html.index("Steps")
    assert "npm ci: exit code 1" in html
    assert "GitHub answered 404" in html
    assert "<title>web #11: failure · Keystone</title>" in html
    assert 'href="/favicon/bad.svg"' in html


def test_a_running_deployment_can_be_cancelled_and_shows_what_is_ahead(
    client: TestClient, scene: Scene
) -> None:
    html = page(client, f"/deployments/{scene.running}")
    assert f'data-action="/api/deployments/{scene.running}/cancel"' in html
    assert html.count(" ahead") == 5
    assert 'data-done="no"' in html


def test_a_success_is_not_done_while_the_old_release_retires(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        deployment = rows.add_deployment(session, rows.add_app(session))
        rows.add_steps(session, deployment, 1, 1, 1, 1, 1, 1, 1, last=StepState.RUNNING)
    assert 'data-done="no"' in page(client, f"/deployments/{deployment.id}")


def test_a_queued_rollback_is_ahead_of_its_start_only(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        deployment = rows.add_deployment(
            session,
            rows.add_app(session),
            state=DeploymentState.QUEUED,
            kind=Kind.ROLLBACK,
            trigger=Trigger.ROLLBACK,
        )
    html = page(client, f"/deployments/{deployment.id}")
    assert html.count(" ahead") == 4
    assert "Checkout" not in html


def test_a_rollback_says_which_release_it_starts_and_who_made_that(
    client: TestClient, scene: Scene
) -> None:
    html = page(client, f"/deployments/{scene.rolled_back}")
    assert '<span class="tag">rollback</span>' in html
    assert re.search(r'Starts v11 again, which <a href="/deployments/\d+">#13</a> made', html)
    assert "Checkout" not in html


def test_a_rollback_whose_release_is_gone_says_so(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        deployment = rows.add_deployment(session, rows.add_app(session), kind=Kind.ROLLBACK)
    assert "release it was to start is gone" in page(client, f"/deployments/{deployment.id}")


def test_a_skipped_step_says_why_and_takes_no_time(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        deployment = rows.add_deployment(session, rows.add_app(session))
        why = "the image of this commit is there already"
        rows.add_steps(session, deployment, 1, 0, last=StepState.SKIPPED, reason=why)
    html = page(client, f"/deployments/{deployment.id}")
    assert why in html
    assert '<li class="idle passed">' in html
    assert '<span class="num">skipped</span>' in html


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (DeploymentState.SUPERSEDED, "A newer deployment replaced it"),
        (DeploymentState.CANCELLED, "Somebody stopped it"),
        (DeploymentState.ERROR, "not the app&#39;s fault"),
        (DeploymentState.FAILURE, "The app failed"),
    ],
)
def test_an_end_without_success_is_explained(
    client: TestClient, database: Database, state: DeploymentState, words: str
) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        first = rows.add_deployment(session, app, state=state, kind=Kind.INITIAL)
        later = rows.add_deployment(session, app, state=state, reason="#9 is a newer push")
    assert "went on serving" not in page(client, f"/deployments/{first.id}")
    html = page(client, f"/deployments/{later.id}")
    assert "<p>#9 is a newer push</p><small>" in html
    assert words in html
    assert "The previous version stayed live." in html


def test_a_running_deployment_cannot_be_redeployed(client: TestClient, scene: Scene) -> None:
    html = page(client, f"/deployments/{scene.running}")
    assert re.search(r'disabled="true" title="It is going on[^"]*">Redeploy<', html)


def test_only_the_end_of_a_long_log_is_drawn_with_a_way_to_the_whole(
    client: TestClient, scene: Scene, settings: Settings
) -> None:
    log_path(settings.logs_dir, scene.failed).write_text("a line\n" * 12_345)
    html = page(client, f"/deployments/{scene.failed}")
    assert html.count('<div id="L') == 400
    assert "Lines 11,946 to 12,345 of 12,345" in html
    assert 'data-first="1" data-last="11945"></div>' in html
    assert 'id="L12345"' in html
    assert f'href="/api/deployments/{scene.failed}/logs"' in html


def test_the_log_can_be_left_out(client: TestClient, scene: Scene) -> None:
    html = page(client, f"/deployments/{scene.failed}?lines=0")
    assert 'id="L1"' not in html
    assert "Steps" in html


def test_deliveries_show_what_was_answered_and_why(client: TestClient, scene: Scene) -> None:
    html = page(client, "/deliveries")
    assert "this push was accepted before" in html
    assert "the commit message says [skip ci]" in html
    assert f'href="/deployments/{scene.failed}"' in html
    assert "202" in html


def test_deliveries_that_were_refused_are_told_apart(
    client: TestClient, scene: Scene, database: Database
) -> None:
    with database.writing() as session:
        wrong = RefusedDelivery(
            repository_id=1,
            claimed="octo/api",
            address="140.82.112.9",
            reason=Refusal.WRONG_SIGNATURE,
            count=12,
        )
        session.add(wrong)
    html = page(client, "/deliveries")
    table = html[html.index("Refused (") :]
    assert "signed with another secret" in table.lower()
    assert table.index("140.82.112.9") < table.index("eve/unknown")
    assert ">12<" in table
    overview = page(client, "/")
    assert "12 deliveries in its name were refused, the last one signed with another" in overview


def test_deliveries_are_paged(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        for place in range(60):
            rows.add_delivery(session, app, sender=f"sender-{place}")
    first = page(client, "/deliveries")
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    assert "sender-9<" in page(client, older[1])
    assert "sender-9<" not in first
    assert "sender-10<" in first


@pytest.mark.parametrize("before", ["x", "-1", "9" * 400, "٣", "1e3", "0"])
def test_a_senseless_cursor_breaks_nothing(client: TestClient, scene: Scene, before: str) -> None:
    page(client, f"/apps/shop?before={before}")
    page(client, f"/deliveries?before={before}")


@pytest.mark.parametrize(
    "address", ["/apps/none", "/deployments/99", f"/deployments/{2**80}", "/nothing", "/static/no"]
)
def test_a_missing_object_is_a_404_page(client: TestClient, address: str) -> None:
    assert "Not found" in page(client, address, 404)


def test_a_stopped_app_stands_before_a_running_one_in_the_tabs_icon(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        app = rows.add_app(session, container_state=ContainerState.RESTARTING)
        rows.make_live(session, app, rows.add_deployment(session, app))
    assert 'href="/favicon/bad.svg"' in page(client, "/")


# --- Who may see and do what -----------------------------------------------------------------


@pytest.mark.parametrize("address", ["/", "/apps/web?before=3", "/deployments/1", "/audit?tag=app"])
def test_strangers_are_sent_to_the_login_and_back(
    client: TestClient, door: Door, address: str
) -> None:
    door.visitor = None
    answer = client.get(address)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=/")
    assert 'name="next" value="' + address + '"' in page(client, answer.headers["location"])


def test_the_login_says_what_was_wrong_in_our_own_words(client: TestClient, door: Door) -> None:
    door.visitor = None
    assert "password is wrong" in page(client, "/login?error=wrong_credentials")
    assert "Call 555" not in page(client, "/login?error=Call+555+now")


def test_a_visitor_who_is_logged_in_needs_no_login(client: TestClient) -> None:
    assert client.get("/login?next=/apps/web").headers["location"] == "/apps/web"


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:x", "", "/a\nb"],
)
def test_a_login_never_leads_to_another_site(wanted: str) -> None:
    assert safe_next(wanted) == "/"


def test_buttons_a_role_may_not_use_are_disabled_and_say_why(
    client: TestClient, door: Door, scene: Scene
) -> None:
    door.visitor = replace(ADA, role=Role.VIEWER)
    for address in ("/apps/web", "/apps/importer", f"/deployments/{scene.running}"):
        forms = re.findall(r"<form class=\"action[ \"].*?</form>", page(client, address), re.DOTALL)
        assert forms
        assert all('disabled="true" title="Your role is viewer' in form for form in forms)


def test_a_page_carries_the_visitors_csrf_token(client: TestClient, scene: Scene) -> None:
    html = page(client, "/apps/web")
    assert '<meta name="csrf-token" content="csrf-of-ada">' in html
    assert 'action="/logout"' in html


# --- It cannot write -------------------------------------------------------------------------


def test_every_route_is_get_only() -> None:
    for route in routes():
        if isinstance(route, Route):
            assert route.methods == {"GET", "HEAD"}, route.path
        else:
            assert isinstance(route, Mount)


@pytest.mark.parametrize(
    "address", ["/", "/apps/web", "/deployments/1", "/deliveries", "/audit", "/login"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_refused(client: TestClient, address: str, method: str) -> None:
    answer = client.request(method, address)
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


def test_the_connection_of_the_pages_refuses_a_write(database: Database, scene: Scene) -> None:
    with (
        pytest.raises(StorageError) as refused,
        database.reading() as session,
    ):
        session.connection().execute(text("DELETE FROM apps"))
    assert isinstance(refused.value.__cause__, OperationalError)


def test_no_page_begins_a_writing_transaction(
    client: TestClient, database: Database, scene: Scene
) -> None:
    written: list[object] = []
    event.listen(database.writer_engine, "begin", written.append)
    for address in ("/", "/apps/shop", f"/deployments/{scene.running}", "/deliveries", "/audit"):
        page(client, address)
    assert written == []


# --- Hostile text ----------------------------------------------------------------------------


def test_hostile_text_is_shown_and_never_becomes_markup(
    client: TestClient, database: Database, settings: Settings, door: Door
) -> None:
    door.visitor = replace(ADA, name=HOSTILE)
    with database.writing() as session:
        app = rows.add_app(
            session,
            branch=HOSTILE,
            repository=HOSTILE,
            dockerfile=HOSTILE,
            health_path=HOSTILE,
            volumes=[HOSTILE],
            auto_deploy=False,
            paused_reason=HOSTILE,
            command=[HOSTILE],
            container_state=ContainerState.EXITED,
            container_reason=HOSTILE,
        )
        delivery = rows.add_delivery(
            session, app, ref=HOSTILE, reason=HOSTILE, sender=HOSTILE, event=HOSTILE[:50]
        )
        deployment = rows.add_deployment(
            session,
            app,
            state=DeploymentState.FAILURE,
            ref=HOSTILE,
            commit_message=HOSTILE,
            author=HOSTILE,
            actor=HOSTILE,
            reason=HOSTILE,
            delivery_id=delivery.id,
        )
        rows.add_steps(session, deployment, 1, last=StepState.FAILURE, reason=f"step {HOSTILE}")
        rows.make_live(session, app, deployment)
        rows.add_variable(session, app, HOSTILE)
        rows.add_event(session, HOSTILE[:60], actor=HOSTILE, target=HOSTILE, said=[HOSTILE])
        kept = rows.add_deployment(session, app, commit_message=HOSTILE)
        rows.make_live(session, app, kept)
    settings.logs_dir.mkdir()
    log_path(settings.logs_dir, deployment.id or 0).write_text(f"{HOSTILE}\x1b[31m{HOSTILE}\n")
    pages = ("/", "/apps/web", f"/deployments/{deployment.id}", "/deliveries", "/audit")
    for address in pages:
        html = page(client, address)
        assert "&lt;img src=x onerror=alert(1)&gt;" in html
        assert "<img" not in html
        assert html.count("<script") == 1
        assert "\"'`" not in html


@pytest.mark.parametrize("address", ["/", "/login", "/nothing", "/static/keystone.css"])
def test_every_answer_carries_the_strict_policy(
    client: TestClient, door: Door, address: str
) -> None:
    door.visitor = None
    headers = client.get(address).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_no_page_needs_what_the_policy_forbids(client: TestClient, scene: Scene) -> None:
    for address in ("/", "/apps/shop", f"/deployments/{scene.failed}", "/deliveries"):
        html = page(client, address)
        assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?! type=\"module\" src=)", html)
        assert not re.search(r"(src|href)=\"https?://(?!github\.com|127\.0\.0\.1)", html)


# --- Cheap -----------------------------------------------------------------------------------


def test_the_number_of_statements_does_not_grow_with_the_apps(
    client: TestClient, database: Database
) -> None:
    counts = []
    for round_ in range(2):
        with database.writing() as session:
            for place in range(4):
                app = rows.add_app(session, f"app-{round_}-{place}", repository=f"o/r{place}")
                for _ in range(3):
                    rows.make_live(session, app, rows.add_deployment(session, app))
                rows.add_deployment(session, app, state=DeploymentState.RUNNING)
                rows.add_delivery(session, app)
                rows.add_variable(session, app, "A")
                rows.add_event(session, "app.created", target=f"app:{app.name}")
        with counted(database) as seen:
            for address in ("/", "/apps/app-0-0", "/deployments/1", "/deliveries", "/audit"):
                page(client, address)
        counts.append(len(seen))
    assert counts[0] == counts[1]
    assert counts[0] <= 85


def test_a_chart_shows_the_last_twenty_only(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        for _ in range(30):
            rows.add_deployment(session, app)
    assert 'aria-label="Last deployments: 20 success"' in page(client, "/")


def test_static_files_are_asked_for_again_and_not_sent_again(client: TestClient) -> None:
    first = client.get("/static/keystone.css")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/static/keystone.css", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


# --- When something is wrong -----------------------------------------------------------------


def test_a_database_that_does_not_answer_is_a_503_page(
    client: TestClient, database: Database, settings: Settings
) -> None:
    database.close()
    (settings.data_dir / "keystone.db").unlink()
    html = page(client, "/", 503)
    assert "The database does not answer" in html


def test_a_mistake_of_ours_is_a_500_page_without_its_details(
    client: TestClient, database: Database, settings: Settings, scene: Scene
) -> None:
    path = log_path(settings.logs_dir, scene.failed)
    path.unlink()
    path.mkdir()
    html = page(client, f"/deployments/{scene.failed}", 500)
    assert "Something went wrong here" in html
    assert "IsADirectoryError" not in html
