"""The pages in a real Chromium: how they look, and what their scripts do."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlmodel import select
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from dashboard import labels
from jobs.database import Database
from jobs.logs import log_path, read_log
from jobs.models import Deployment, Step, now
from jobs.settings import Settings
from jobs.states import DeploymentState, StepState
from tests.browser import complaints_of, overflow_of
from tests.dashboard import rows
from tests.dashboard.scene import Scene
from tests.dashboard.site import Door

pytestmark = pytest.mark.browser
STAMP = "2026-11-23T15:45:58.123Z"
UP_TO_S = 15


def addresses(scene: Scene) -> list[str]:
    """Give every kind of page."""
    apps = [f"/apps/{name}" for name in ("shop", "web", "importer", "status-page")]
    seen = (scene.running, scene.failed, scene.succeeded, scene.rolled_back, scene.superseded)
    return ["/", *apps, "/deliveries", "/audit", *(f"/deployments/{n}" for n in seen)]


def add_to_log(settings: Settings, deployment_id: int, *texts: str) -> None:
    """Write lines as the build step would."""
    with log_path(settings.logs_dir, deployment_id).open("a") as file:
        file.writelines(f"{STAMP} build | {text}\n" for text in texts)


def end_running(database: Database, deployment_id: int) -> None:
    """Let the deployment that runs fail."""
    with database.writing() as session:
        deployment = session.get_one(Deployment, deployment_id)
        deployment.state, deployment.reason = DeploymentState.FAILURE, "it broke"
        deployment.ended_at = now()
        session.add(deployment)
        for step in session.exec(select(Step).where(Step.state == StepState.RUNNING)):
            step.state, step.ended_at = StepState.FAILURE, now()


def log_from_offset(settings: Settings, deployment_id: int) -> Callable[[Request], Response]:
    """Answer as the receiver's route for logs does."""

    def answer(request: Request) -> Response:
        data = log_path(settings.logs_dir, deployment_id).read_bytes()
        return PlainTextResponse(data[int(request.query_params["offset"]) :])

    return answer


# --- How they look ---------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 390, 768, 1440, 2560])
def test_pages_fit_their_window_and_complain_of_nothing(
    browser: Browser, site: str, scene: Scene, door: Door, width: int
) -> None:
    door.logs = lambda _: PlainTextResponse("")
    door.events = lambda _: StreamingResponse(iter(()), media_type="text/event-stream")
    tab = browser.new_page(viewport={"width": width, "height": 900})
    heard = complaints_of(tab)
    for address in addresses(scene):
        tab.goto(site + address)
        assert overflow_of(tab) <= 0, address
    door.visitor = None
    tab.goto(f"{site}/login?error=wrong_credentials")
    assert overflow_of(tab) <= 0
    assert heard == []
    tab.close()


def test_dark_follows_the_system(browser: Browser, site: str, scene: Scene) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
        tab = context.new_page()
        tab.goto(site)
        grounds.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert len(grounds) == 2


CONTRAST = """() => {
  const light = (rgb) => rgb.map((part) => part / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const style = getComputedStyle(element);
    if (!own || element.closest("button:disabled, .unseen, noscript, svg")) continue;
    const colour = parts(style.color);
    if (!element.checkVisibility() || colour[3] === 0) continue;
    const [a, b] = [light(colour.slice(0, 3)), light(ground(element).slice(0, 3))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_enough_contrast(
    browser: Browser, site: str, scene: Scene, scheme: str
) -> None:
    context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
    tab = context.new_page()
    for address in addresses(scene):
        tab.goto(site + address)
        assert tab.evaluate(CONTRAST) == [], address
    context.close()


def test_the_keyboard_goes_everywhere_and_is_seen(tab: Page, site: str, scene: Scene) -> None:
    tab.goto(f"{site}/apps/web")
    reached = []
    for _ in range(9):
        tab.keyboard.press("Tab")
        outline, words = tab.evaluate(
            "[getComputedStyle(document.activeElement).outlineStyle,"
            " document.activeElement.textContent.trim() || document.activeElement.name]"
        )
        assert outline != "none", words
        reached.append(words)
    assert reached[:4] == ["Skip to content", "Keystone", "Overview", "Deliveries"]
    assert "ref" in reached
    assert "Deploy now" in reached


def test_whoever_wants_no_motion_gets_none(browser: Browser, site: str, scene: Scene) -> None:
    context = browser.new_context(reduced_motion="reduce")
    tab = context.new_page()
    tab.goto(f"{site}/deployments/{scene.running}")
    assert tab.evaluate("document.getAnimations().length") == 0
    context.close()


def test_without_scripts_pages_can_be_read_and_buttons_are_forms(
    browser: Browser, site: str, scene: Scene
) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{site}/deployments/{scene.running}")
    expect(tab.locator("#L1")).to_contain_text("commit")
    expect(tab.get_by_role("button", name="Wrap")).to_have_count(0)
    form = tab.locator("form.action").first
    assert form.get_attribute("method") == "post"
    assert form.locator("[name=csrf_token]").input_value() == "csrf-of-ada"
    context.close()


# --- What the scripts say, the server says too -----------------------------------------------


def test_scripts_say_times_as_the_server_does(tab: Page, site: str, scene: Scene) -> None:
    tab.goto(f"{site}/deliveries")
    seconds = [0, 0.44, 7.3, 9.96, 10, 59.4, 59.6, 72, 3599, 3600, 7500, 86_399, 97_200, 3e6]
    said = tab.evaluate(
        "async (all) => { const { duration } = await import('/static/times.js');"
        " return all.map(duration); }",
        seconds,
    )
    assert said == [labels.duration(each) for each in seconds]
    moment = now()
    ages = tab.evaluate(
        "async ([all, now]) => { const { age } = await import('/static/times.js');"
        " return all.map((each) => age(now - each * 1000, now)); }",
        [seconds, moment.timestamp() * 1000],
    )
    assert ages == [labels.age(moment - timedelta(seconds=each), moment) for each in seconds]


LINES = (
    "plain",
    f"{STAMP} build | \x1b[1;31merror\x1b[0m: <b>no</b> & 'so' \x1b[38;5;208mx\x1b[48;2;9;9;9my",
    f"{STAMP} build | \x1b[97;44mbright\x1b[39;49m \x1b[2;3;4mall\x1b[22;23;24m \x1b[38;5mhalf",
    f"{STAMP} start | \x1b[38;5;240mgrey\x1b[38;5;15mwhite\x1b[38;5;17m\x1b[1;1mnavy\x1b[9999;31mx",
    f"{STAMP} start | ",
    f"{STAMP} start | #4 CACHED",
    *(f"{STAMP} build | #4 {text}" for text in ("[2/3] RUN make", "CACHED", "CACHED twice")),
    *(f"{STAMP} build | #4 {text}" for text in ("| DONE 1s", "DONE 0.1s", "ERROR: exit code: 1")),
)


def test_scripts_draw_lines_as_the_server_does(
    tab: Page, site: str, scene: Scene, settings: Settings
) -> None:
    log_path(settings.logs_dir, scene.failed).write_text("".join(f"{line}\n" for line in LINES))
    tab.goto(f"{site}/deployments/{scene.failed}")
    from_server = tab.locator(".log").evaluate("(log) => [...log.children].map((l) => l.outerHTML)")
    from_script = tab.evaluate(
        """async (text) => {
          const { Log } = await import("/static/log.js");
          const box = document.createElement("section");
          box.innerHTML = '<div class="log"></div>';
          Object.assign(box.dataset, { offset: 0, total: 0 });
          new Log(box).add(text, new TextEncoder().encode(text).length);
          return [...box.firstChild.children].map((line) => line.outerHTML);
        }""",
        "".join(f"{line}\n" for line in LINES),
    )
    assert from_script == from_server


# --- Buttons ---------------------------------------------------------------------------------


def test_deploy_now_asks_for_the_ref_and_goes_to_the_new_deployment(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    door.answer = lambda: JSONResponse({"id": scene.succeeded}, status_code=202)
    tab.goto(f"{site}/apps/shop")
    tab.get_by_label("Branch or commit to deploy").fill(" feature/x ")
    tab.get_by_role("button", name="Deploy now").click()
    tab.wait_for_url(f"**/deployments/{scene.succeeded}")
    assert door.posted == [
        ("POST /api/apps/shop/deployments", {"ref": " feature/x "}, "csrf-of-ada")
    ]


def test_an_empty_ref_is_not_sent(tab: Page, site: str, scene: Scene, door: Door) -> None:
    tab.goto(f"{site}/apps/shop")
    tab.get_by_role("button", name="Deploy now").click()
    tab.wait_for_url("**/deployments/1")
    assert door.posted[0][1] == {}


def test_a_refusal_is_said_beside_the_button(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    error = {"error": {"code": "conflict", "message": "<i>it is over already</i>"}}
    door.answer = lambda: JSONResponse(error, status_code=409)
    tab.goto(f"{site}/deployments/{scene.running}")
    button = tab.get_by_role("button", name="Cancel")
    button.click()
    expect(tab.locator("output").first).to_have_text("<i>it is over already</i>")
    expect(button).to_be_enabled()


def test_a_button_waits_for_its_answer(tab: Page, site: str, scene: Scene, door: Door) -> None:
    held: list[Route] = []
    tab.route("**/api/apps/*/deployments", lambda route: held.append(route))  # noqa: PLW0108 — it looks inside
    tab.goto(f"{site}/apps/shop")
    button = tab.get_by_role("button", name="Deploy now")
    button.click()
    expect(button).to_be_disabled()
    held[0].continue_()
    tab.wait_for_url("**/deployments/1")
    assert len(door.posted) == 1


def test_a_session_that_has_ended_leads_to_the_login_and_back(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    tab.goto(f"{site}/apps/shop")
    door.visitor = None
    door.answer = lambda: JSONResponse({"error": {"code": "x", "message": "x"}}, status_code=401)
    tab.get_by_role("button", name="Deploy now").click()
    tab.wait_for_url("**/login?next=%2Fapps%2Fshop")
    expect(tab.locator("[name=next]")).to_have_value("/apps/shop")


# --- While it runs ---------------------------------------------------------------------------


def test_events_bring_lines_and_states_without_a_reload(
    tab: Page, site: str, scene: Scene, door: Door, database: Database, settings: Settings
) -> None:
    path, go_on = log_path(settings.logs_dir, scene.running), threading.Event()

    def stream() -> Iterator[str]:
        add_to_log(settings, scene.running, "first \x1b[32mlive\x1b[0m line")
        yield log_event()  # all of it once more: what was shown already is left out
        go_on.wait(UP_TO_S)
        end_running(database, scene.running)
        yield f"event: state\ndata: {json.dumps({'state': 'failure'})}\n\n"

    def log_event() -> str:
        part = read_log(path)
        assert part is not None
        data = "".join(f"data: {line}\n" for line in part.text.splitlines())
        return f"event: log\nid: {part.next_offset}\n{data}\n"

    def events(request: Request) -> Response:
        assert int(request.query_params["offset"]) == path.stat().st_size
        return StreamingResponse(stream(), media_type="text/event-stream")

    door.events = events
    door.logs = log_from_offset(settings, scene.running)
    tab.goto(f"{site}/deployments/{scene.running}")
    before = tab.locator(".log > div").count()
    expect(tab.locator(".log > div").last).to_contain_text("first live line")
    assert tab.locator(".log > div").count() in {before, before + 1}
    numbers = tab.locator(".log a").all_inner_texts()
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    tab.evaluate("window.untouched = true")
    go_on.set()
    expect(tab.locator(".title .badge")).to_have_text("Failure")
    expect(tab).to_have_title("shop #27: failure · Keystone")
    expect(tab.locator('link[rel="icon"]')).to_have_attribute("href", "/favicon/bad.svg")
    expect(tab.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(tab.get_by_role("button", name="Follow")).to_have_count(0)
    assert tab.evaluate("window.untouched")


def test_without_events_the_page_asks_and_a_lost_connection_is_shown(
    tab: Page, site: str, scene: Scene, door: Door, settings: Settings
) -> None:
    door.logs = log_from_offset(settings, scene.running)
    tab.goto(f"{site}/deployments/{scene.running}")
    state = tab.locator(".link-state")
    expect(state).to_have_text("Updated every 3 s")
    add_to_log(settings, scene.running, "a line by asking")
    expect(tab.locator(".log > div").last).to_contain_text("a line by asking", timeout=8000)
    tab.context.set_offline(True)
    expect(state).to_contain_text("Connection lost", timeout=8000)
    tab.context.set_offline(False)
    expect(state).to_have_text("Updated every 3 s", timeout=8000)


def test_following_pauses_when_the_reader_scrolls_up(
    tab: Page, site: str, scene: Scene, door: Door, settings: Settings
) -> None:
    add_to_log(settings, scene.running, *(f"line {n}" for n in range(200)))
    door.logs = log_from_offset(settings, scene.running)
    tab.goto(f"{site}/deployments/{scene.running}")
    follow = tab.locator('[data-tool="follow"]')
    expect(follow).to_have_text("Following")
    expect(tab.locator(".link-state")).to_have_text("Updated every 3 s")
    tab.locator(".log").evaluate("(log) => { log.scrollTop = 10; }")
    expect(follow).to_have_attribute("aria-pressed", "false")
    add_to_log(settings, scene.running, "while reading")
    expect(tab.locator(".log > div").last).to_contain_text("while reading", timeout=8000)
    assert tab.locator(".log").evaluate("(log) => log.scrollTop") == 10
    follow.click()
    assert tab.locator(".log").evaluate("(log) => log.scrollTop") > 1000


def test_the_overview_follows_what_happens(
    tab: Page, site: str, scene: Scene, database: Database
) -> None:
    tab.goto(site)
    end_running(database, scene.running)
    expect(tab.locator('[data-live="app-shop"] .badge')).to_have_text("Running", timeout=8000)


def test_a_long_list_of_apps_can_be_filtered(
    tab: Page, site: str, scene: Scene, database: Database
) -> None:
    with database.writing() as session:
        for place in range(6):
            rows.add_app(session, f"tool-{place}")
    tab.goto(site)
    tab.get_by_role("searchbox").fill("TOOL-3")
    expect(tab.locator(".card:visible h2")).to_have_text(["tool-3"])
    tab.get_by_role("searchbox").fill("nothing like it")
    expect(tab.get_by_text("No app matches.")).to_be_visible()
