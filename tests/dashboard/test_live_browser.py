"""Pages that follow by events, in a real Chromium: what comes, what goes, and what is wrong."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, Route, expect
from sqlmodel import Session, select
from starlette.responses import JSONResponse

from jobs.states import ContainerState, DeploymentState, StepName, StepState
from jobs.storage.database import Database
from jobs.storage.models import App, Deployment, Step, now
from tests.browser import wait_until
from tests.dashboard import rows
from tests.dashboard.scene import Scene
from tests.dashboard.site import ADA, Door, News, output_of
from tests.dashboard.test_browser import end_running

pytestmark = pytest.mark.browser
PING_MS = 10_000
SILENCE_MS = 29_000
COUNT_PINGS = """
  window.pings = 0;
  window.EventSource = class extends EventSource {
    constructor(address) {
      super(address);
      this.addEventListener("ping", () => (window.pings += 1));
    }
  };
"""
SET_HIDDEN = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
SELECT = "(part) => getSelection().selectAllChildren(part)"
WATCH_SHIFTS = """() => {
  window.shifted = [];
  const add = (entry) => {
    const moved = entry.sources.map(({ node }) => node?.className || node?.nodeName);
    if (!entry.hadRecentInput) window.shifted.push([entry.value, ...moved]);
  };
  new PerformanceObserver((list) => list.getEntries().forEach(add))
    .observe({ type: "layout-shift", buffered: false });
}"""


@pytest.fixture
def news(door: Door) -> News:
    """The stream of events that the pages listen to."""
    news = News()
    door.changes = news.stream
    return news


def find_app(session: Session, name: str) -> App:
    """Give an app of the scene."""
    return session.exec(select(App).where(App.name == name)).one()


# --- What comes and what goes ----------------------------------------------------------------


def test_the_first_app_takes_the_place_of_what_teaches(
    tab: Page, site: str, database: Database, news: News
) -> None:
    tab.goto(site)
    expect(tab.get_by_text("Deploy the first app")).to_be_visible()
    with database.writing() as session:
        rows.add_app(session, "first")
    news.told.append("changed")
    expect(tab.locator(".card h2")).to_have_text("first")
    expect(tab.get_by_text("Deploy the first app")).to_have_count(0)
    expect(tab.get_by_text("Needs attention")).to_be_visible()
    expect(tab.locator(".counts")).to_contain_text("1 new")


def test_cards_come_and_go_and_the_others_are_not_touched(
    tab: Page, site: str, scene: Scene, database: Database, news: News
) -> None:
    tab.goto(site)
    tab.locator(".card", has_text="octo/web").evaluate("(card) => { card.untouched = true; }")
    tab.get_by_role("link", name="docs", exact=True).focus()
    with database.writing() as session:
        session.delete(find_app(session, "status-page"))
        rows.add_app(session, "brand-new")
    news.told.append("changed")
    names = tab.locator(".card h2")
    shown = ["api", "brand-new", "docs", "importer", "shop", "web"]
    expect(names).to_have_text(shown)
    assert tab.locator(".card", has_text="octo/web").last.evaluate("(card) => card.untouched")
    expect(tab.get_by_role("link", name="docs", exact=True)).to_be_focused()


def test_a_card_that_is_not_asked_for_any_more_goes(
    tab: Page, site: str, scene: Scene, database: Database, news: News
) -> None:
    tab.goto(f"{site}/?state=failing")
    expect(tab.locator(".card h2")).to_have_text(["api"])
    with database.writing() as session:
        api = find_app(session, "api")
        api.container_state, api.container_reason = ContainerState.RUNNING, ""
    news.told.append("changed")
    expect(tab.get_by_text("No app matches.")).to_be_visible()
    expect(tab.locator(".card")).to_have_count(0)


def test_what_a_first_deployment_brings_appears_on_an_apps_page(
    tab: Page, site: str, database: Database, news: News
) -> None:
    with database.writing() as session:
        app = rows.add_app(session, "first")
    tab.goto(f"{site}/apps/first")
    expect(tab.get_by_text("None: nothing is live yet.")).to_be_visible()
    with database.writing() as session:
        app = find_app(session, "first")
        for _ in range(6):
            rows.make_live(session, app, rows.add_deployment(session, app))
        app.container_state = ContainerState.RUNNING
        rows.add_delivery(session, app)
    news.told.append("changed")
    expect(tab.locator('[data-live="container"]')).to_have_text("Running")
    expect(tab.get_by_role("heading", name="Trends")).to_be_visible()
    expect(tab.locator('[data-live="deliveries"] li')).to_have_count(1)


# --- What somebody is at waits ---------------------------------------------------------------


def test_what_happened_under_a_question_is_shown_once_it_is_answered(
    tab: Page, site: str, scene: Scene, database: Database, news: News
) -> None:
    tab.goto(f"{site}/apps/web")
    wait_until(tab, lambda: news.listening == 1)
    tab.locator("#rollback button").click()
    expect(tab.get_by_role("dialog")).to_be_visible()
    with database.writing() as session:
        find_app(session, "web").container_reason = "sick"
    news.told.append("changed")
    tab.wait_for_timeout(2500)
    expect(tab.locator(".title .badge")).to_have_text("Running")
    tab.keyboard.press("Escape")
    expect(tab.locator(".title .badge")).to_have_text("Failing")


def test_what_is_marked_stays_until_it_is_let_go(
    tab: Page, site: str, scene: Scene, database: Database, news: News
) -> None:
    tab.goto(site)
    card = tab.locator('[data-live="app-shop"]')
    card.locator(".subject").evaluate(SELECT)
    end_running(database, scene.running)
    news.told.append("changed")
    expect(tab.locator(".glance")).to_contain_text("No deployment is under way")
    expect(card.locator(".badge")).to_have_text("Deploying")
    tab.evaluate("getSelection().removeAllRanges()")
    expect(card.locator(".badge")).to_have_text("Running")


def test_a_click_into_the_output_does_not_pause_it(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    lines = ["one"]
    door.output = lambda: output_of(lines)
    tab.goto(f"{site}/apps/web")
    tab.get_by_text("Output", exact=True).click()
    log = tab.get_by_role("log")
    expect(log).to_contain_text("one")
    log.evaluate("(log) => getSelection().collapse(log.firstChild, 1)")
    lines.append("two")
    expect(log).to_contain_text("two")


def test_a_list_that_is_scrolled_by_keys_keeps_them(
    tab: Page, site: str, scene: Scene, database: Database, news: News
) -> None:
    tab.goto(site)
    going_on = tab.get_by_role("list", name="Going on")
    going_on.focus()
    begin(database, "docs")
    news.told.append("changed")
    expect(going_on).to_contain_text("docs #6")
    expect(going_on).to_be_focused()


# --- What is wrong is said -------------------------------------------------------------------


def test_a_stream_that_has_gone_silent_is_lost_and_begun_again(
    tab: Page, site: str, scene: Scene, news: News
) -> None:
    held: list[Route] = []
    tab.add_init_script(COUNT_PINGS)
    tab.clock.install()
    tab.goto(f"{site}/apps/docs")
    wait_until(tab, lambda: news.opened == 1)
    for number in range(4):
        news.told.append("ping")
        wait_until(tab, lambda: tab.evaluate("window.pings") > number)  # noqa: B023 — at once
        tab.clock.run_for(PING_MS)
    assert news.opened == 1
    tab.route(f"{site}/apps/docs", lambda route: held.append(route))  # noqa: PLW0108 — it looks inside
    tab.clock.run_for(SILENCE_MS)
    expect(tab.locator(".lost")).to_have_text("The server cannot be reached. Trying again…")
    for route in held:
        route.continue_()
    tab.unroute(f"{site}/apps/docs")
    tab.clock.run_for(4000)
    wait_until(tab, lambda: news.opened == 2)
    expect(tab.locator(".lost")).to_be_empty()


def test_an_answer_that_is_an_error_is_said_while_events_still_come(
    tab: Page, site: str, scene: Scene, news: News
) -> None:
    tab.goto(f"{site}/apps/docs")
    wait_until(tab, lambda: news.listening == 1)
    page = "<title>The database does not answer · Keystone</title>"
    tab.route(f"{site}/apps/docs", lambda route: route.fulfill(status=503, body=page))
    news.told.append("changed")
    said = "The database does not answer. Trying again…"
    expect(tab.locator(".lost")).to_have_text(said)
    tab.unroute(f"{site}/apps/docs")
    expect(tab.locator(".lost")).to_be_empty()


def test_a_page_whose_stream_is_refused_asks_until_there_is_room(
    tab: Page, site: str, scene: Scene, database: Database, door: Door, news: News
) -> None:
    full = {"error": {"code": "rate_limited", "message": "ada follows 20 streams already"}}
    door.changes = lambda: JSONResponse(full, 429, {"retry-after": "10"})
    tab.goto(f"{site}/apps/docs")
    with database.writing() as session:
        docs = find_app(session, "docs")
        docs.container_state = ContainerState.EXITED
        docs.container_reason = "its container exited with code 9"
    expect(tab.get_by_text("its container exited with code 9").first).to_be_visible()
    expect(tab.locator(".lost")).to_be_empty()
    door.changes = news.stream
    wait_until(tab, lambda: news.listening == 1)


def test_an_app_that_is_removed_is_gone_and_its_page_stops(
    tab: Page, site: str, scene: Scene, database: Database, news: News
) -> None:
    tab.goto(f"{site}/apps/status-page")
    wait_until(tab, lambda: news.listening == 1)
    with database.writing() as session:
        session.delete(find_app(session, "status-page"))
    news.told.append("changed")
    expect(tab.locator(".lost")).to_contain_text("This is gone")
    wait_until(tab, lambda: news.listening == 0)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.wait_for_timeout(4000)
    assert [address for address in asked if "status-page" in address] == []
    tab.locator(".lost a").click()
    tab.wait_for_url(f"{site}/")


def test_a_deployment_that_is_gone_is_not_a_lost_connection(
    tab: Page, site: str, scene: Scene, database: Database
) -> None:
    with database.writing() as session:
        app = find_app(session, "docs")
        deployment = rows.add_deployment(session, app, state=DeploymentState.QUEUED)
    tab.goto(f"{site}/deployments/{deployment.id}")
    expect(tab.locator(".link-state")).to_have_text("Updated every 3 s")
    with database.writing() as session:
        session.delete(session.get_one(Deployment, deployment.id))
    expect(tab.locator(".lost")).to_contain_text("This is gone")
    expect(tab.locator(".link-state")).to_be_empty()


# --- A page that nobody looks at -------------------------------------------------------------


def test_a_hidden_deployment_gives_its_connection_back_and_its_title_follows(
    tab: Page, site: str, scene: Scene, door: Door, database: Database
) -> None:
    news = News()
    door.events = lambda _: news.stream()
    # Stopped, so that a moment stays one, however long it takes here.
    begun = datetime.now(UTC)
    tab.clock.install(time=begun)
    tab.clock.pause_at(begun + timedelta(minutes=1))
    tab.goto(f"{site}/deployments/{scene.running}")
    expect(tab.locator(".link-state")).to_have_text("Live")
    tab.evaluate(SET_HIDDEN, arg=True)
    tab.clock.run_for(4000)
    assert news.listening == 1  # only looked away for a moment
    tab.clock.resume()
    tab.clock.run_for(6000)
    wait_until(tab, lambda: news.listening == 0)
    end_running(database, scene.running)
    tab.clock.run_for(16_000)
    expect(tab).to_have_title("shop #27: failure · Keystone")
    expect(tab.locator('link[rel="icon"]')).to_have_attribute("href", "/favicon/bad.svg")
    assert news.listening == 0


def test_a_page_that_is_looked_at_again_listens_again(
    tab: Page, site: str, scene: Scene, news: News, database: Database
) -> None:
    tab.clock.install()
    tab.goto(site)
    wait_until(tab, lambda: news.listening == 1)
    tab.evaluate(SET_HIDDEN, arg=True)
    tab.clock.run_for(10_000)
    wait_until(tab, lambda: news.listening == 0)
    end_running(database, scene.running)
    tab.evaluate(SET_HIDDEN, arg=False)
    wait_until(tab, lambda: news.listening == 1)
    tab.clock.run_for(2000)
    expect(tab.locator('[data-live="app-shop"] .badge')).to_have_text("Running")


def test_buttons_work_after_another_login_in_another_tab(
    tab: Page, site: str, scene: Scene, door: Door, news: News
) -> None:
    door.answer = lambda: JSONResponse({"name": "web"})
    tab.goto(f"{site}/apps/web")
    door.visitor = replace(ADA, csrf_token="of-the-next-session")
    news.told.append("changed")
    logout = tab.locator('.me [name="csrf_token"]')
    expect(logout).to_have_value("of-the-next-session")
    tab.get_by_role("button", name="Pause auto-deploy").click()
    expect(tab.locator("#pause output")).to_have_text("Done.")
    assert door.posted[0][2] == "of-the-next-session"


# --- Nothing moves ---------------------------------------------------------------------------


def begin(database: Database, name: str) -> None:
    """Let a deployment of an app begin, as a worker would."""
    with database.writing() as session:
        app = find_app(session, name)
        made = rows.add_deployment(session, app, state=DeploymentState.RUNNING)
        step = Step(deployment_id=made.id or 0, name=StepName.BUILD, state=StepState.RUNNING)
        session.add(step)


def succeed(database: Database, name: str) -> None:
    """Let what runs for an app go live."""
    with database.writing() as session:
        app = find_app(session, name)
        wanted = (Deployment.app_id == app.id, Deployment.state == DeploymentState.RUNNING)
        made = session.exec(select(Deployment).where(*wanted)).one()
        made.state, made.ended_at = DeploymentState.SUCCESS, now()
        for step in session.exec(select(Step).where(Step.deployment_id == made.id)):
            step.state, step.ended_at = StepState.SUCCESS, now()
        rows.make_live(session, app, made)


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize("width", [390, 1280, 2560])
@pytest.mark.parametrize("address", ["/", "/apps/docs"])
def test_nothing_moves_when_a_deployment_begins_and_ends(
    tab: Page, site: str, database: Database, news: News, address: str, width: int
) -> None:
    tab.set_viewport_size({"width": width, "height": 900})
    tab.goto(site + address)
    wait_until(tab, lambda: news.listening == 1)
    for fact in tab.locator('[data-fact="restarts"] dd').all():
        expect(fact).to_have_text("0")  # what the container tells has come, and moves what is below
    tab.wait_for_timeout(1500)
    tab.evaluate(WATCH_SHIFTS)
    begin(database, "docs")
    news.told.append("changed")
    expect(tab.locator(".work", has_text="#6")).to_contain_text("Build")
    tab.wait_for_timeout(300)
    succeed(database, "docs")
    news.told.append("changed")
    expect(tab.locator(".work", has_text="#6")).to_have_count(0)
    tab.wait_for_timeout(300)
    assert_nothing_moved(tab)


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_nothing_moves_when_an_app_goes_wrong(
    tab: Page, site: str, database: Database, news: News, width: int
) -> None:
    tab.set_viewport_size({"width": width, "height": 2000})
    tab.goto(site)
    wait_until(tab, lambda: news.listening == 1)
    tab.wait_for_timeout(1500)
    tab.evaluate(WATCH_SHIFTS)
    with database.writing() as session:
        app = find_app(session, "docs")
        app.auto_deploy = False
        app.configuration += 1
        app.container_state = ContainerState.EXITED
        app.container_reason = "its container exited with code 1, in the middle of the night"
    news.told.append("changed")
    card = tab.locator(".card", has_text="docs")
    expect(card).to_contain_text("Its container exited with code 1")
    expect(card).to_contain_text("paused")
    expect(card).to_contain_text("needs redeploy")
    tab.wait_for_timeout(300)
    # Of so high a window a line is one part in a hundred.
    assert_nothing_moved(tab, at_most=0.001)


def assert_nothing_moved(tab: Page, *, at_most: float = 0.01) -> None:
    shifts = tab.evaluate("window.shifted")
    assert sum(shift[0] for shift in shifts) < at_most, shifts


# --- Who cannot press it is told why ---------------------------------------------------------


def test_a_button_that_does_nothing_now_says_why_to_a_key_and_a_finger(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    tab.goto(f"{site}/apps/shop")
    button = tab.get_by_role("button", name="Redeploy")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_accessible_description("#27 is on its way; wait for its end")
    button.focus()
    tab.keyboard.press("Enter")
    said = tab.locator("#redeploy output")
    expect(said).to_have_text("#27 is on its way; wait for its end")
    assert door.posted == []
