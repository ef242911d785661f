"""A deployment's page in a real Chromium, before the real receiver: its log, live and long."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from sqlmodel import Session, select

from jobs.states import DeploymentState, GitHubState, StepName, StepState
from jobs.storage.deployment_log import log_path
from jobs.storage.models import CommitStatus, Deployment, LoginSession, Step, now
from receiver.app import create_app
from tests.browser import chromium, complaints_of
from tests.build_events import done, named, output
from tests.builders import (
    WebRuntime,
    cookie_name,
    make_app,
    make_deployment,
    make_session,
    write_log,
)
from tests.haproxy import free_ports
from tests.receiver.live import serving

pytestmark = pytest.mark.browser

WATCH_SHIFTS = """() => {
  window.shifted = 0;
  window.moved = [];
  const add = (entry) => {
    if (entry.hadRecentInput) return;
    window.shifted += entry.value;
    window.moved.push(...entry.sources.map(({ node }) => node?.className ?? node?.nodeName));
  };
  new PerformanceObserver((list) => list.getEntries().forEach(add))
    .observe({ type: "layout-shift", buffered: true });
}"""


@dataclass
class Site:
    """The receiver, which a test may stop and start again at the same address."""

    runtime: WebRuntime
    # Not one of those that outgoing connections are given: it must still be free after a stop.
    port: int = field(default_factory=lambda: free_ports(1)[0])
    _running: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Serve."""
        self._running.enter_context(serving(create_app(self.runtime), port=self.port))

    def stop(self) -> None:
        """Be gone, as if the process had ended."""
        self._running.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture
def site(runtime: WebRuntime) -> Iterator[Site]:
    """The real receiver."""
    site = Site(runtime)
    site.start()
    yield site
    site.stop()


@pytest.fixture
def tab(browser: Browser, runtime: WebRuntime, site: Site) -> Iterator[Page]:
    """A tab of somebody who is logged in; its clock shows UTC."""
    address = f"http://127.0.0.1:{site.port}"
    context = browser.new_context(
        base_url=address, viewport={"width": 1280, "height": 800}, timezone_id="UTC"
    )
    cookie = make_session(runtime).cookie.get_secret_value()
    context.add_cookies([{"name": cookie_name(runtime), "value": cookie, "url": address}])
    yield context.new_page()
    context.close()


@pytest.fixture
def deployment(runtime: WebRuntime) -> int:
    """The id of a deployment whose build runs."""
    make_app(runtime)
    made = make_deployment(runtime, state=DeploymentState.RUNNING)
    with runtime.database.writing() as session:
        session.get_one(Deployment, made.id).started_at = now()
        for name, state in (
            (StepName.CHECKOUT, StepState.SUCCESS),
            (StepName.BUILD, StepState.RUNNING),
        ):
            ended = now() if state is StepState.SUCCESS else None
            session.add(Step(deployment_id=made.id or 0, name=name, state=state, ended_at=ended))
    return made.id or 0


def begin_start(runtime: WebRuntime, deployment: int) -> None:
    """End the build well, and begin to start the container; GitHub is told something."""
    with runtime.database.writing() as session:
        for step in open_steps(session, deployment):
            step.state, step.ended_at = StepState.SUCCESS, now()
        session.add(Step(deployment_id=deployment, name=StepName.START, state=StepState.RUNNING))
        session.add(
            CommitStatus(
                deployment_id=deployment,
                state=GitHubState.PENDING,
                description="Deployment #1: running",
                posted_at=now(),
            )
        )


def fail(runtime: WebRuntime, deployment: int) -> None:
    """Let the build fail, as a worker would."""
    with runtime.database.writing() as session:
        row = session.get_one(Deployment, deployment)
        row.state, row.reason, row.ended_at = DeploymentState.FAILURE, "it broke", now()
        for step in open_steps(session, deployment):
            step.state, step.ended_at = StepState.FAILURE, now()


def open_steps(session: Session, deployment: int) -> Iterator[Step]:
    """Give the deployment's steps that are open."""
    found = select(Step).where(Step.deployment_id == deployment, Step.state == StepState.RUNNING)
    yield from session.exec(found).all()


def line(tab: Page, number: int) -> Locator:
    """Give a line of the log."""
    return tab.locator(f"#L{number}")


# --- While it happens ------------------------------------------------------------------------


def test_lines_states_and_builds_steps_appear_as_they_come_and_nothing_moves(
    tab: Page, site: Site, runtime: WebRuntime, deployment: int
) -> None:
    write_log(runtime, deployment, [named(1, "[1/2] RUN make"), output(1, "one")])
    heard = complaints_of(tab)
    tab.goto(f"/deployments/{deployment}")
    expect(tab.locator(".link-state")).to_have_text("Live")
    tab.evaluate(WATCH_SHIFTS)
    tab.evaluate("window.untouched = true")
    write_log(
        runtime,
        deployment,
        [output(1, "\x1b[32mtwo\x1b[0m"), done(1, 0.4), named(2, "[2/2] COPY . .")],
    )
    expect(line(tab, 5)).to_contain_text("[2/2] COPY . .")
    expect(line(tab, 3).locator(".c2")).to_have_text("two")
    expect(tab.locator(".build li")).to_contain_text(["[1/2] RUN make", "[2/2] COPY . ."])
    expect(tab.locator(".build li").first).to_contain_text("0.4 s")
    begin_start(runtime, deployment)
    expect(tab.locator(".steps li.busy")).to_contain_text("Start")
    fail(runtime, deployment)
    expect(tab.locator(".title .badge")).to_have_text("Failure")
    expect(tab.get_by_role("alert")).to_contain_text("It broke")
    expect(tab).to_have_title("web #1: failure · Keystone")
    expect(tab.locator('link[rel="icon"]')).to_have_attribute("href", "/favicon/bad.svg")
    expect(tab.get_by_role("button", name="Cancel")).to_have_count(0)
    assert tab.evaluate("window.untouched")
    assert tab.evaluate("window.shifted") < 0.01, tab.evaluate("window.moved")
    assert heard == []


def test_a_server_that_was_away_is_missed_and_found_again_without_a_line_lost(
    tab: Page, site: Site, runtime: WebRuntime, deployment: int
) -> None:
    write_log(runtime, deployment, ["before"])
    tab.goto(f"/deployments/{deployment}")
    expect(tab.locator(".link-state")).to_have_text("Live")
    site.stop()
    expect(tab.locator(".link-state")).to_contain_text("Connection lost")
    tab.get_by_role("button", name="Cancel").click()
    expect(tab.locator("#cancel output")).to_contain_text("The server cannot be reached")
    write_log(runtime, deployment, ["meanwhile", "and again"])
    site.start()
    expect(line(tab, 3)).to_contain_text("and again")
    expect(tab.locator(".link-state")).to_have_text("Live")
    write_log(runtime, deployment, ["after"])
    expect(line(tab, 4)).to_contain_text("after")
    numbers = tab.locator(".block a").all_inner_texts()
    assert numbers == ["1", "2", "3", "4"]


def test_following_pauses_when_the_reader_scrolls_up(
    tab: Page, site: Site, runtime: WebRuntime, deployment: int
) -> None:
    write_log(runtime, deployment, (f"line {n}" for n in range(1, 151)))
    tab.goto(f"/deployments/{deployment}")
    follow, log = tab.locator('[data-tool="follow"]'), tab.locator(".log")
    expect(follow).to_have_text("Following")
    log.evaluate("(log) => { log.scrollTop = 10; }")
    expect(follow).to_have_attribute("aria-pressed", "false")
    write_log(runtime, deployment, ["while reading"])
    expect(line(tab, 151)).to_be_attached()
    assert log.evaluate("(log) => log.scrollTop") == 10
    follow.click()
    expect(line(tab, 151)).to_be_in_viewport()


def test_lines_that_come_while_older_ones_are_fetched_are_not_lost(
    tab: Page, site: Site, runtime: WebRuntime, deployment: int
) -> None:
    write_log(runtime, deployment, (f"line {n}" for n in range(1, 801)))
    tab.goto(f"/deployments/{deployment}")
    expect(tab.locator(".link-state")).to_have_text("Live")
    write_log(runtime, deployment, (f"line {n}" for n in range(801, 951)))  # a block to be added to
    expect(line(tab, 950)).to_be_in_viewport()
    tab.locator(".log").evaluate("(log) => { log.scrollTop = 0; }")
    expect(line(tab, 950)).to_have_count(0)
    held: list[Route] = []
    tab.route("**/lines?*", lambda route: held.append(route))  # noqa: PLW0108 — it looks inside
    with tab.expect_request("**/lines?*"):
        tab.locator('[data-tool="follow"]').click()
    write_log(runtime, deployment, ["while they", "are fetched"])
    expect(tab.locator(".log summary")).to_contain_text("952 lines")
    for route in held:
        route.continue_()
    tab.unroute("**/lines?*")
    expect(line(tab, 950)).to_be_attached()
    expect(line(tab, 952)).to_be_in_viewport()
    numbers = tab.locator(".block a").all_inner_texts()
    assert [int(number) for number in numbers[-150:]] == list(range(803, 953))


def test_a_session_that_has_ended_leads_to_the_login_and_back_to_the_line(
    tab: Page, site: Site, runtime: WebRuntime, deployment: int
) -> None:
    write_log(runtime, deployment, ["one"])
    tab.goto(f"/deployments/{deployment}#L1")
    with runtime.database.writing() as session:
        for row in session.exec(select(LoginSession)).all():
            session.delete(row)
        session.get_one(Deployment, deployment).attempts += 1  # what makes the page look again
    tab.wait_for_url(f"**/login?next=%2Fdeployments%2F{deployment}%23L1")
    expect(tab.locator("[name=next]")).to_have_value(f"/deployments/{deployment}#L1")


# --- A long one ------------------------------------------------------------------------------


@pytest.fixture
def long_log(runtime: WebRuntime, deployment: int) -> int:
    """The id of a successful deployment with a log of 200,000 lines."""
    path = log_path(runtime.settings.logs_dir, deployment)
    path.parent.mkdir(parents=True, exist_ok=True)
    stamp = "2026-11-23T15:45:58.123Z"
    build = (f"{stamp} build | compiling \x1b[36mpart\x1b[0m {n}\n" for n in range(3, 199_999))
    path.write_text(
        f"{stamp} checkout | commit abc\n{stamp} checkout | 12 files\n"
        + "".join(build)
        + f"{stamp} start | container started\n{stamp} start | at 10.201.0.3:8000\n"
    )
    with runtime.database.writing() as session:
        session.get_one(Deployment, deployment).state = DeploymentState.SUCCESS
        for step in open_steps(session, deployment):
            step.state, step.ended_at = StepState.SUCCESS, now()
    return deployment


def open_long(tab: Page, deployment: int) -> None:
    """Open the page of a long log; its script is there, and has made room for every line."""
    tab.goto(f"/deployments/{deployment}")
    expect(tab.locator(".log.ready")).to_be_visible()


def drawn(tab: Page) -> int:
    """Give how many lines the page holds."""
    return tab.locator(".block > [id]").count()


def test_a_log_of_200000_lines_is_a_window_and_every_line_has_an_address(
    tab: Page, site: Site, long_log: int
) -> None:
    open_long(tab, long_log)
    expect(line(tab, 1)).to_be_in_viewport()
    assert drawn(tab) <= 1000
    assert tab.locator(".log").evaluate("(log) => log.scrollHeight") > 3_000_000
    tab.goto(f"/deployments/{long_log}#L120000-L120002")
    expect(line(tab, 120_000)).to_be_in_viewport()
    expect(tab.locator(".picked")).to_have_count(3)
    line(tab, 120_001).locator("a").click()
    line(tab, 120_004).locator("a").click(modifiers=["Shift"])
    expect(tab).to_have_url(re.compile("#L120001-L120004$"))
    expect(tab.locator(".picked")).to_have_count(4)
    tab.locator(".log").evaluate("(log) => { log.scrollTop = log.scrollHeight; }")
    expect(line(tab, 200_000)).to_be_in_viewport()
    expect(line(tab, 120_000)).to_have_count(0)
    assert drawn(tab) <= 1000


def test_text_is_found_in_the_whole_log_and_steps_fold(
    tab: Page, site: Site, long_log: int
) -> None:
    open_long(tab, long_log)
    checkout = tab.get_by_text("Checkout2 lines")
    checkout.click()
    expect(line(tab, 1)).to_be_hidden()
    tab.get_by_label("Search the log").fill("PART 19999")
    matches = tab.get_by_label("Matches")
    expect(matches).to_have_text("1 / 10")
    expect(tab.locator(".found")).to_contain_text("part 19999")
    tab.get_by_label("Search the log").press("Enter")
    expect(matches).to_have_text("2 / 10")
    expect(tab.locator(".found")).to_be_in_viewport()
    expect(tab.locator(".found")).to_contain_text("part 199990")
    tab.get_by_label("Previous match").click()
    expect(matches).to_have_text("1 / 10")
    assert tab.evaluate("CSS.highlights.get('match').size") >= 1
    tab.get_by_label("Search the log").fill("commit abc")
    expect(line(tab, 1)).to_be_visible()  # its step is unfolded again
    tab.get_by_label("Search the log").fill("never written")
    expect(matches).to_have_text("No match")


def test_how_a_log_is_shown_is_remembered(tab: Page, site: Site, long_log: int) -> None:
    open_long(tab, long_log)
    expect(line(tab, 1).locator("time")).to_have_text("15:45:58")
    tab.get_by_role("button", name="Times").click()
    expect(line(tab, 1).locator("time")).to_be_hidden()
    tab.reload()
    expect(line(tab, 1).locator("time")).to_be_hidden()


def test_the_keyboard_reads_a_log(tab: Page, site: Site, long_log: int) -> None:
    open_long(tab, long_log)
    tab.get_by_label("Search the log").focus()
    names = []
    for _ in range(8):
        tab.keyboard.press("Tab")
        names.append(
            tab.evaluate(
                "(() => { const { ariaLabel, innerText } = document.activeElement;"
                " return ariaLabel || innerText.split('\\n')[0]; })()"
            )
        )
    assert names[:7] == [
        "Previous match",
        "Next match",
        "Times",
        "Wrap",
        "Download",
        "Log",
        "Checkout2 lines",
    ]
    tab.get_by_text("Checkout2 lines").press("Enter")
    expect(line(tab, 1)).to_be_hidden()
