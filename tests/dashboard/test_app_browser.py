"""An app's page in a real Chromium: going back, resuming, its container and its output."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, Route, expect
from sqlmodel import select
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from jobs.states import ContainerState
from jobs.storage.database import Database
from jobs.storage.models import App
from tests.browser import complaints_of, wait_until
from tests.dashboard.scene import Scene
from tests.dashboard.site import CONTAINER, Door, output_of

pytestmark = pytest.mark.browser
REFUSAL = {"error": {"code": "conflict", "message": "v5 is <b>not kept</b>"}}


def open_question(tab: Page, site: str, row: str) -> None:
    tab.goto(f"{site}/apps/web")
    tab.locator(f"#{row} button").click()
    expect(tab.get_by_role("dialog")).to_be_visible()


# --- Going back ------------------------------------------------------------------------------


def test_going_back_is_asked_first_and_then_done(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    door.changes = lambda: StreamingResponse(iter(()), media_type="text/event-stream")
    door.events = lambda _: door.changes()
    heard = complaints_of(tab)
    open_question(tab, site, "rollback-4")
    dialog = tab.get_by_role("dialog")
    expect(dialog).to_contain_text("Roll web back to v4?")
    expect(dialog).to_contain_text("Auto-deploy will be paused")
    assert door.posted == []
    dialog.get_by_role("button", name="Roll back").click()
    tab.wait_for_url("**/deployments/1")
    asked = {"release": 4, "after": 11}
    assert door.posted == [("POST /api/apps/web/rollback", asked, "csrf-of-ada")]
    assert heard == []


@pytest.mark.parametrize("way", ["button", "escape"])
def test_thinking_better_of_it_changes_nothing(
    tab: Page, site: str, scene: Scene, door: Door, way: str
) -> None:
    open_question(tab, site, "rollback")
    expect(tab.get_by_role("button", name="Keep what is live")).to_be_focused()
    tab.keyboard.press("Escape" if way == "escape" else "Enter")
    expect(tab.get_by_role("dialog")).to_have_count(0)
    expect(tab.locator("#rollback button")).to_be_focused()
    assert door.posted == []


def test_a_refused_rollback_says_why_in_the_question(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    door.answer = lambda: JSONResponse(REFUSAL, status_code=409)
    open_question(tab, site, "rollback")
    tab.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(tab.get_by_role("dialog").locator("output")).to_have_text("v5 is <b>not kept</b>")
    tab.keyboard.press("Escape")
    tab.locator("#rollback-3 button").click()
    expect(tab.get_by_role("dialog").locator("output")).to_be_empty()


def test_a_page_does_not_change_under_a_question(
    tab: Page, site: str, scene: Scene, database: Database
) -> None:
    tab.clock.install()
    open_question(tab, site, "rollback")
    with database.writing() as session:
        session.exec(select(App).where(App.name == "web")).one().container_reason = "sick"
    tab.clock.run_for(11_000)
    expect(tab.locator(".title .badge")).to_have_text("Running")
    tab.keyboard.press("Escape")
    tab.clock.run_for(11_000)
    expect(tab.locator(".title .badge")).to_have_text("Failing")


# --- Going on --------------------------------------------------------------------------------


def test_resuming_takes_the_banner_away(
    tab: Page, site: str, scene: Scene, door: Door, database: Database
) -> None:
    def resume() -> Response:
        with database.writing() as session:
            session.exec(select(App).where(App.name == "importer")).one().auto_deploy = True
        return JSONResponse({"name": "importer"})

    door.answer = resume
    tab.goto(f"{site}/apps/importer")
    tab.get_by_role("button", name="Resume auto-deploy").click()
    expect(tab.get_by_text("Auto-deploy is paused")).to_have_count(0)
    assert door.posted == [("PATCH /api/apps/importer", {"auto_deploy": True}, "csrf-of-ada")]


# --- The container ---------------------------------------------------------------------------


def test_the_container_is_asked_for_and_told(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    told = {**CONTAINER, "restarts": 3, "health": "healthy", "out_of_memory": True}
    door.container = lambda: JSONResponse(told)
    tab.goto(f"{site}/apps/web")
    card = tab.locator("[data-container]")
    expect(card.locator('[data-fact="restarts"] dd')).to_have_text("3")
    expect(card.locator('[data-fact="health"] dd')).to_have_text("healthy")
    expect(card.locator('[data-fact="out_of_memory"]')).to_contain_text("ran out, at 512 MB")
    expect(card.locator('[data-fact="exit_code"]')).to_be_hidden()
    expect(card.locator("time")).to_have_attribute("datetime", str(CONTAINER["since"]))


def test_news_of_the_container_redraw_the_page(
    tab: Page, site: str, scene: Scene, door: Door, database: Database
) -> None:
    def look() -> Response:
        with database.writing() as session:
            app = session.exec(select(App).where(App.name == "web")).one()
            app.container_state = ContainerState.EXITED
        return JSONResponse({**CONTAINER, "state": "exited", "exit_code": 137})

    door.container = look
    tab.goto(f"{site}/apps/web")
    expect(tab.locator('[data-live="container"] .badge')).to_have_text("Exited")
    expect(tab.locator(".title .badge")).to_have_text("Stopped")
    expect(tab.locator('[data-fact="exit_code"] dd')).to_have_text("137")


def test_of_two_looks_at_once_the_later_is_shown_whichever_answers_first(
    tab: Page, site: str, scene: Scene
) -> None:
    tab.goto(f"{site}/apps/docs")
    page = tab.content()
    held: list[Route] = []
    tab.route(f"{site}/apps/docs", lambda route: held.append(route))  # noqa: PLW0108 — it looks inside
    tab.evaluate("import('/static/fresh.js').then(({refresh}) => void [refresh(), refresh()])")
    wait_until(tab, lambda: len(held) >= 2)
    earlier, later = held[:2]
    answer(later, page, "later")
    expect(tab).to_have_title(re.compile("^later"))
    with tab.expect_event("requestfinished", lambda request: request == earlier.request):
        answer(earlier, page, "earlier")
    tab.wait_for_timeout(100)
    assert tab.title().startswith("later")


def answer(route: Route, page: str, title: str) -> None:
    """Answer a look with the page under another title."""
    route.fulfill(body=page.replace("<title>", f"<title>{title} "), content_type="text/html")


def test_a_watcher_that_does_not_answer_is_said(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    error = {"error": {"code": "unavailable", "message": "the watcher does not answer"}}
    door.container = lambda: JSONResponse(error, status_code=503)
    tab.goto(f"{site}/apps/web")
    expect(tab.locator("[data-container] > .panel [role=status]").first).to_have_text(
        "the watcher does not answer"
    )


# --- The output ------------------------------------------------------------------------------


def test_the_output_is_read_once_it_is_opened_and_followed(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    lines = [f"\x1b[32mline\x1b[0m {n} <b>" for n in range(100)]
    door.output = lambda: output_of(lines)
    tab.goto(f"{site}/apps/web")
    expect(tab.locator('[data-fact="restarts"]')).to_be_visible()
    assert door.asked == []
    tab.get_by_text("Output", exact=True).click()
    log = tab.get_by_role("log")
    expect(log).to_contain_text("line 99 <b>")
    assert door.asked[0] == "tail=200&lines=html"
    assert log.locator(".c2").count() == 100
    lines.append("a new one")
    expect(log).to_contain_text("a new one")
    assert log.evaluate("(log) => log.scrollTop + log.clientHeight >= log.scrollHeight - 1")


def test_reading_up_in_the_output_pauses_it(tab: Page, site: str, scene: Scene, door: Door) -> None:
    # Stopped, so that no other reading is on its way when the readings are counted.
    begun = datetime.now(UTC)
    tab.clock.install(time=begun)
    tab.clock.pause_at(begun + timedelta(minutes=1))
    lines = [f"line {n}" for n in range(100)]
    door.output = lambda: output_of(lines)
    tab.goto(f"{site}/apps/web")
    # Its script is there: no clock will make up for a click that came before.
    expect(tab.locator('[data-fact="restarts"]')).to_be_visible()
    tab.get_by_text("Output", exact=True).click()
    log, follow = tab.get_by_role("log"), tab.locator('.output [data-tool="follow"]')
    expect(log).to_contain_text("line 99")
    log.evaluate("(log) => { log.scrollTop = 10; }")
    expect(follow).to_have_text("Follow")
    asked = len(door.asked)
    lines.append("while reading")
    tab.clock.run_for(10_000)
    assert len(door.asked) == asked
    follow.click()
    tab.clock.run_for(4000)
    expect(log).to_contain_text("while reading")


def test_an_output_that_cannot_be_had_says_why(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    error = {"error": {"code": "not_found", "message": "web has no live container"}}
    door.output = lambda: JSONResponse(error, status_code=404)
    tab.goto(f"{site}/apps/web")
    tab.get_by_text("Output", exact=True).click()
    expect(tab.locator(".output .link-state")).to_have_text("web has no live container")
    door.output = lambda: PlainTextResponse("")
    expect(tab.locator(".output .link-state")).to_have_text("It has written nothing yet.")
