"""A deployment's page while its log grows, in a real Chromium: none is missed, nobody disturbed."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dashboard.build_steps import draw_build
from jobs.reads.views import BuildStepView
from jobs.rules.log_events import BuildEvent
from jobs.rules.redaction import Redactor
from jobs.settings import Settings
from jobs.states import BuildStepState, DeploymentState
from jobs.storage.database import Database
from jobs.storage.deployment_log import DeploymentLog, log_path
from tests.build_events import done, named
from tests.dashboard import rows
from tests.dashboard.scene import Scene
from tests.dashboard.site import LOOK_S, Door
from tests.dashboard.test_browser import end_running
from tests.dashboard.test_live_browser import SELECT, SET_HIDDEN

pytestmark = pytest.mark.browser

MANY = 9000  # lines: more than a page is given at a time, several times over
CHATTER_S = 0.05
LINE = '<div id="L{0}"><a href="#L{0}">{0}</a><span>chatter {0}</span></div>'
STANDS = "[document.querySelector('.build ol').scrollTop, document.activeElement.hash]"


def write_log(settings: Settings, deployment: int, said: Iterable[str | BuildEvent]) -> None:
    """Add lines to a deployment's log, as its build step would."""
    log = DeploymentLog(log_path(settings.logs_dir, deployment), Redactor())
    for each in said:
        log.write("build", each)
    log.close()


# --- The log is whole at the end -------------------------------------------------------------


def test_a_log_that_grows_fast_is_whole_at_the_end_without_events(
    tab: Page, site: str, scene: Scene, database: Database, settings: Settings
) -> None:
    tab.goto(f"{site}/deployments/{scene.running}")
    expect(tab.locator(".link-state")).to_have_text("Updated every 3 s")
    write_log(settings, scene.running, (f"line {n}" for n in range(MANY)))
    write_log(settings, scene.running, ["the very last"])
    end_running(database, scene.running)
    expect(tab.locator(".link-state")).to_be_empty()
    tab.locator(".log").evaluate("(log) => { log.scrollTop = log.scrollHeight; }")
    expect(tab.locator(".log .block > [id]").last).to_contain_text("the very last")


def test_a_log_that_has_grown_behind_a_hidden_tab_is_whole_when_it_is_looked_at(
    tab: Page, site: str, scene: Scene, database: Database, settings: Settings
) -> None:
    tab.clock.install(time=datetime.now(UTC))
    tab.goto(f"{site}/deployments/{scene.running}")
    tab.evaluate(SET_HIDDEN, arg=True)
    write_log(settings, scene.running, (f"line {n}" for n in range(MANY)))
    write_log(settings, scene.running, ["the very last"])
    end_running(database, scene.running)
    follow = tab.locator('[data-tool="follow"]')
    for _ in range(300):  # until it has seen the end, and follows no more
        tab.clock.run_for(16_000)
        tab.wait_for_timeout(100)
        if follow.is_hidden():
            break
    expect(follow).to_be_hidden()
    tab.evaluate(SET_HIDDEN, arg=False)
    tab.clock.resume()
    tab.locator(".log").evaluate("(log) => { log.scrollTop = log.scrollHeight; }")
    expect(tab.locator(".log .block > [id]").last).to_contain_text("the very last")


def test_a_deployment_that_ends_without_a_log_has_all_of_it(
    tab: Page, site: str, scene: Scene, database: Database
) -> None:
    with database.writing() as session:
        app = rows.add_app(session, "none")
        made = rows.add_deployment(session, app, state=DeploymentState.RUNNING)
    tab.goto(f"{site}/deployments/{made.id}")
    expect(tab.locator(".link-state")).to_have_text("Updated every 3 s")
    end_running(database, made.id or 0)
    expect(tab.locator(".link-state")).to_be_empty()


# --- Who searches or reads is not disturbed --------------------------------------------------


def test_a_search_is_answered_while_lines_come_all_the_time(
    tab: Page, site: str, scene: Scene, settings: Settings, door: Door
) -> None:
    async def chatter() -> AsyncIterator[str]:
        for number in itertools.count(1000):
            yield f"event: log\nid: {number}\ndata: {LINE.format(number)}\n\n"
            await asyncio.sleep(CHATTER_S)

    door.events = lambda _: StreamingResponse(chatter(), media_type="text/event-stream")
    write_log(settings, scene.running, ["alpha one", "beta two", "alpha three"])
    tab.goto(f"{site}/deployments/{scene.running}")
    expect(tab.locator(".link-state")).to_have_text("Live")
    search, matches = tab.get_by_label("Search the log"), tab.get_by_label("Matches")
    search.fill("alpha")
    expect(matches).to_have_text("1 / 2")
    tab.wait_for_timeout(500)  # lines have come that the search has not seen
    write_log(settings, scene.running, ["alpha four"])
    expect(matches).to_have_text("1 / 3")
    search.fill("beta")
    expect(matches).to_have_text("1 / 1")
    expect(tab.locator(".found")).to_contain_text("beta two")


@dataclass
class Told:
    """A stream of the events that a test puts in."""

    events: list[str] = field(default_factory=list)

    def stream(self, _request: Request) -> Response:
        """Answer as the receiver does."""
        return StreamingResponse(self._all(), media_type="text/event-stream")

    async def _all(self) -> AsyncIterator[str]:
        yield "event: ping\ndata:\n\n"
        heard = 0
        while True:
            for event in self.events[heard:]:
                heard += 1
                yield event
            await asyncio.sleep(LOOK_S)


@pytest.fixture
def told(door: Door) -> Told:
    """What a deployment's page is told."""
    told = Told()
    door.events = told.stream
    return told


def build(length: int) -> str:
    """Give the event of a build at its step of that number."""
    steps = [
        BuildStepView(
            number=n, line=n, name=f"RUN step {n}", state=BuildStepState.CACHED, seconds=0
        )
        for n in range(1, length + 1)
    ]
    return f"event: build\ndata: {draw_build(steps)}\n\n"


def test_a_build_that_goes_on_leaves_its_list_where_it_is_read(
    tab: Page, site: str, scene: Scene, told: Told
) -> None:
    tab.goto(f"{site}/deployments/{scene.running}")
    told.events.append(build(40))
    steps = tab.locator(".build li")
    expect(steps).to_have_count(40)
    tab.locator(".build a").nth(25).focus()
    tab.evaluate("document.querySelector('.build ol').scrollTop = 300")
    told.events.append(build(41))
    expect(steps).to_have_count(41)
    assert tab.evaluate(STANDS) == [300, "#L26"]


def test_a_build_that_is_marked_stays_until_it_is_let_go(
    tab: Page, site: str, scene: Scene, told: Told, settings: Settings
) -> None:
    tab.goto(f"{site}/deployments/{scene.running}")
    steps = tab.locator(".build li")
    expect(steps).to_have_count(3)
    steps.first.evaluate(SELECT)
    write_log(settings, scene.running, [done(4, 9.8), named(5, "[4/4] RUN npm run build")])
    told.events.append(build(4))
    tab.wait_for_timeout(1500)
    assert steps.count() == 3
    assert tab.evaluate("getSelection().isCollapsed") is False
    tab.evaluate("getSelection().removeAllRanges()")
    expect(steps).to_have_count(4)
