"""An app's page over HTTP: what it can go back to, what it waits for, how it is configured."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from jobs.states import ContainerState, DeploymentState, Role
from jobs.storage.database import Database
from jobs.storage.models import App, Certificate, Deployment, Domain, DomainPort, Repository, now
from tests.dashboard import rows
from tests.dashboard.scene import Scene
from tests.dashboard.site import ADA, Door, page


def form(html: str, name: str) -> str:
    """Give one form of a page by its id; empty when it is not there."""
    found = re.search(rf'<form class="[^"]*" id="{name}".*?</form>', html, re.DOTALL)
    return found[0] if found else ""


# --- Releases --------------------------------------------------------------------------------


def test_releases_show_which_is_live_which_are_kept_and_which_are_not(
    client: TestClient, scene: Scene
) -> None:
    html = page(client, "/apps/importer")
    table = re.search(r'<table class="list releases">.*?</table>', html, re.DOTALL)
    assert table
    told = {
        number[1]: row
        for row in table[0].split("<tr>")[2:]
        if (number := re.search(r">v(\d+)</b>", row))
    }
    assert list(told) == ["12", "11", "10", "9", "8", "7"]
    assert "Live" in told["11"]
    assert "rollback" not in told["11"]
    assert "kept" in told["12"]
    assert 'name="release" value="12" data-json' in told["12"]
    assert "not kept" in told["7"]
    assert "<form" not in told["7"]


def test_going_back_leads_to_the_release_before_the_live_one(
    client: TestClient, scene: Scene
) -> None:
    button = form(page(client, "/apps/importer"), "rollback")
    assert "Roll back to v10" in button
    assert 'value="10" data-json' in button
    assert 'data-action="/api/apps/importer/rollback"' in button
    assert 'method="post"' in button


def test_a_live_release_that_is_the_oldest_can_go_forward_only(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        first = rows.make_live(session, app, rows.add_deployment(session, app))
        rows.make_live(session, app, rows.add_deployment(session, app))
        app.live_release_id = first.id
        session.add(app)
    html = page(client, "/apps/web")
    assert "There is no earlier release" in form(html, "rollback")
    assert "disabled" not in form(html, "rollback-2")


def test_without_an_earlier_release_the_button_says_so(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        rows.make_live(session, app, rows.add_deployment(session, app))
    button = form(page(client, "/apps/web"), "rollback")
    assert 'disabled="true" title="There is no earlier release to go back to"' in button
    assert "<small" in button


def test_whoever_may_not_roll_back_gets_no_dialog(
    client: TestClient, door: Door, scene: Scene
) -> None:
    assert '<dialog id="rollback-dialog"' in page(client, "/apps/importer")
    door.visitor = replace(ADA, role=Role.VIEWER)
    html = page(client, "/apps/importer")
    assert "<dialog" not in html
    assert "Your role is viewer; this needs deployer</small>" in form(html, "rollback")


def test_the_question_says_that_auto_deploy_will_be_paused(
    client: TestClient, scene: Scene
) -> None:
    assert "Auto-deploy will be paused" in page(client, "/apps/shop")
    assert "Auto-deploy stays paused" in page(client, "/apps/importer")


# --- What it waits for -----------------------------------------------------------------------


def test_a_paused_app_says_why_and_an_admin_can_resume_it(
    client: TestClient, door: Door, scene: Scene
) -> None:
    html = page(client, "/apps/importer")
    assert "Auto-deploy is paused: rolled back to v11 by user:grace." in html
    resume = form(html, "resume")
    assert 'data-action="/api/apps/importer" data-method="PATCH"' in resume
    assert 'name="auto_deploy" value="true" data-json' in resume
    assert "disabled" not in resume
    door.visitor = replace(ADA, role=Role.DEPLOYER)
    assert "needs admin</small>" in form(page(client, "/apps/importer"), "resume")
    assert form(page(client, "/apps/shop"), "resume") == ""


def test_a_changed_configuration_asks_for_a_redeploy(client: TestClient, scene: Scene) -> None:
    html = page(client, "/apps/web")
    assert "has changed since v6" in html
    assert 'data-action="/api/apps/web/deployments"' in form(html, "apply")
    assert form(page(client, "/apps/shop"), "apply") == ""


def test_a_redeploy_waits_for_what_is_on_its_way(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        rows.make_live(session, app, rows.add_deployment(session, app))
        rows.add_deployment(session, app, state=DeploymentState.RUNNING)
        app.configuration += 1
        session.add(app)
    html = page(client, "/apps/web")
    assert "#2 is on its way; wait for its end</small>" in form(html, "redeploy")
    assert form(html, "apply") == ""


# --- The container ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (ContainerState.RUNNING, "", "Running"),
        (ContainerState.RUNNING, "its container is unhealthy", "Unhealthy"),
        (ContainerState.MISSING, "its container does not exist any more", "Missing"),
        (None, "", "Not checked yet"),
    ],
)
def test_the_container_is_shown_as_it_was_last_seen(
    client: TestClient, database: Database, state: ContainerState | None, reason: str, words: str
) -> None:
    with database.writing() as session:
        app = rows.add_app(session, container_state=state, container_reason=reason)
        rows.make_live(session, app, rows.add_deployment(session, app))
    html = page(client, "/apps/web")
    card = html[html.index("data-container=") : html.index("<details")]
    assert f'data-state="{state or ""}"' in card
    assert words in card
    assert 'data-output="/api/apps/web/logs?tail=200&amp;lines=html"' in html


def test_an_app_that_was_never_live_has_no_container(client: TestClient, scene: Scene) -> None:
    html = page(client, "/apps/status-page")
    assert "None: nothing is live yet." in html
    assert "No release has been live yet." in html


# --- Configuration ---------------------------------------------------------------------------


def test_variables_are_shown_by_name_and_never_by_value(client: TestClient, scene: Scene) -> None:
    html = page(client, "/apps/web")
    assert re.search(r'<code>STRIPE_KEY</code> <span class="tag">secret</span>', html)
    assert "<code>LOG_LEVEL</code></div>" in html
    assert "keystone env set web" in html
    assert "sealed" not in html


@pytest.mark.parametrize("role", [Role.VIEWER, Role.DEPLOYER])
def test_the_page_hides_variable_names_from_users_whom_the_api_refuses_them(
    client: TestClient, door: Door, scene: Scene, role: Role
) -> None:
    door.visitor = replace(ADA, role=role)
    html = page(client, "/apps/web")
    assert "STRIPE_KEY" not in html
    assert "4 are set; admins see the names." in html


def test_settings_of_its_own_are_told(client: TestClient, database: Database, scene: Scene) -> None:
    with database.writing() as session:
        session.add(Domain(app_id=1, name="shop.example"))
    html = page(client, "/apps/shop")
    assert "<dt>Domains</dt><dd>shop.example</dd>" in html
    assert "<dt>Memory</dt><dd>1024 MB</dd>" in html
    assert "<dt>Volumes</dt>" not in html
    assert "<dt>Volumes</dt><dd>data:/var/lib/web</dd>" in page(client, "/apps/web")


# --- The buttons -----------------------------------------------------------------------------


def test_a_button_shows_what_runs_and_says_what_a_click_does(
    client: TestClient, scene: Scene
) -> None:
    going_on, quiet = page(client, "/apps/shop"), page(client, "/apps/docs")
    assert "Deploy after #27" in form(going_on, "deploy")
    assert 'title="#27 is on its way; this one waits for its end"' in form(going_on, "deploy")
    assert "Deploy now" in form(quiet, "deploy")
    assert "disabled" in form(going_on, "redeploy")
    assert "disabled" not in form(quiet, "redeploy")


def test_a_running_deployment_can_be_cancelled_on_the_apps_page(
    client: TestClient, door: Door, scene: Scene
) -> None:
    button = form(page(client, "/apps/shop"), "cancel")
    assert f'action="/api/deployments/{scene.running}/cancel"' in button
    assert form(page(client, "/apps/docs"), "cancel") == ""
    door.visitor = replace(ADA, role=Role.VIEWER)
    assert "needs deployer</small>" in form(page(client, "/apps/shop"), "cancel")


def test_a_redeploy_is_of_the_commit_that_is_live(
    client: TestClient, scene: Scene, database: Database
) -> None:
    with database.reading() as session:
        live = session.get_one(Deployment, scene.succeeded)
    assert f'name="ref" value="{live.commit_sha}"' in form(page(client, "/apps/shop"), "redeploy")
    assert "Nothing is live" in form(page(client, "/apps/status-page"), "redeploy")


@pytest.mark.parametrize("name", ["deploy", "redeploy", "rollback", "rollback-12"])
def test_a_button_says_which_deployment_it_has_seen(
    client: TestClient, scene: Scene, name: str
) -> None:
    assert 'name="after" value="15" data-json' in form(page(client, "/apps/importer"), name)


def test_the_button_of_a_deployment_says_which_deployment_it_has_seen(
    client: TestClient, scene: Scene
) -> None:
    shown = page(client, f"/deployments/{scene.failed}")
    assert 'name="after" value="' in form(shown, "redeploy")


def test_auto_deploy_can_be_paused_by_an_admin(
    client: TestClient, door: Door, scene: Scene
) -> None:
    pause = form(page(client, "/apps/shop"), "pause")
    assert 'name="auto_deploy" value="false" data-json' in pause
    assert form(page(client, "/apps/importer"), "pause") == ""
    door.visitor = replace(ADA, role=Role.DEPLOYER)
    assert "disabled" in form(page(client, "/apps/shop"), "pause")


# --- Its repository's token ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"token_problem": "GitHub refuses <the> token"}, "GitHub refuses &lt;the&gt; token"),
        ({"token_expires_at": now() + timedelta(days=3)}, "The token expires on"),
    ],
)
def test_a_token_that_wants_somebody_is_told_where_the_overview_leads(
    client: TestClient,
    database: Database,
    door: Door,
    scene: Scene,
    columns: dict[str, object],
    words: str,
) -> None:
    change = 'href="/apps/web/settings/repository"'
    assert change not in page(client, "/apps/web")
    with database.writing() as session:
        app = session.exec(select(App).where(App.name == "web")).one()
        repository = session.get_one(Repository, app.repository_id)
        for name, value in columns.items():
            setattr(repository, name, value)
    assert 'href="/apps/web"><b>octo/web</b>' in page(client, "/")
    html = page(client, "/apps/web")
    assert words in html
    assert change in html
    door.visitor = replace(ADA, role=Role.VIEWER)
    html = page(client, "/apps/web")
    assert words in html
    assert change not in html


# --- Domains and trends ----------------------------------------------------------------------


def test_domains_are_told_with_their_certificates(
    client: TestClient, scene: Scene, database: Database
) -> None:
    begun = now()
    with database.writing() as session:
        for name in ("shop.example", "www.shop.example", "old.shop.example"):
            session.add(Domain(app_id=1, name=name))
        session.add(DomainPort(scheme="http", port=80))
        for domain, days in (("shop.example", 80), ("old.shop.example", 3)):
            ends = begun + timedelta(days=days)
            session.add(Certificate(domain=domain, sealed=b"x", not_after=ends))
    html = page(client, "/apps/shop")
    assert 'href="http://shop.example"' in html
    assert f"until {(begun + timedelta(days=80)).date()}" in html
    assert "Its certificate expires on" in html
    assert "No certificate: served by HTTP only. <code>keystone certificate set www." in html


def test_an_app_without_domains_says_where_it_answers(client: TestClient, scene: Scene) -> None:
    html = page(client, "/apps/web")
    assert "None: it answers at http://127.0.0.1:" in html
    assert "--domains app.example.com" in html


def test_trends_are_drawn_once_there_is_something_to_say(client: TestClient, scene: Scene) -> None:
    assert page(client, "/apps/shop").count('class="trend"') == 2
    assert "Trends" not in page(client, "/apps/status-page")


def test_the_deliveries_of_the_repository_are_one_click_away(
    client: TestClient, scene: Scene
) -> None:
    assert 'href="/deliveries?repository=octo/web"' in page(client, "/apps/web")


def test_a_deployment_being_cancelled_cannot_be_cancelled_again(
    client: TestClient, database: Database, scene: Scene
) -> None:
    assert "aria-disabled" not in form(page(client, "/apps/shop"), "cancel")
    with database.writing() as session:
        session.get_one(Deployment, scene.running).cancelled_by = "user:ada"
    assert "It is being cancelled" in form(page(client, "/apps/shop"), "cancel")
