"""The pages in a real Chromium: how they look, and what their scripts do."""

from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Route, expect
from playwright.sync_api import Response as Answer
from sqlmodel import select
from starlette.responses import JSONResponse, StreamingResponse

from dashboard import labels
from jobs.states import DeploymentState, StepState
from jobs.storage.database import Database
from jobs.storage.models import Deployment, Step, now
from tests.browser import complaints_of, overflow_of, wait_until
from tests.dashboard.scene import Scene
from tests.dashboard.site import Door

pytestmark = pytest.mark.browser
STAMP = "2026-11-23T15:45:58.123Z"
UP_TO_S = 15
# Of axe's rules about colours only this one is not asked by itself.
ABOUT_COLOURS = {
    "runOnly": ["cat.color"],
    "rules": {"color-contrast-enhanced": {"enabled": False}},
}


def addresses(scene: Scene) -> list[str]:
    """Give every kind of page."""
    apps = [f"/apps/{name}" for name in ("shop", "web", "importer", "status-page")]
    seen = (scene.running, scene.failed, scene.succeeded, scene.rolled_back, scene.superseded)
    settings = [f"/apps/web/settings{part}" for part in ("", "/variables", "/domains")]
    forms = [*settings, "/apps/web/settings/repository", "/apps/new", "/users", "/account"]
    return ["/", *apps, *forms, "/deliveries", "/audit", *(f"/deployments/{n}" for n in seen)]


def end_running(database: Database, deployment_id: int) -> None:
    """Let the deployment that runs fail."""
    with database.writing() as session:
        deployment = session.get_one(Deployment, deployment_id)
        deployment.state, deployment.reason = DeploymentState.FAILURE, "it broke"
        deployment.ended_at = now()
        session.add(deployment)
        for step in session.exec(select(Step).where(Step.state == StepState.RUNNING)):
            step.state, step.ended_at = StepState.FAILURE, now()


# --- How they look ---------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 768, 2560])
def test_pages_fit_their_window_and_complain_of_nothing(
    browser: Browser, site: str, scene: Scene, door: Door, width: int
) -> None:
    door.changes = lambda: StreamingResponse(iter(()), media_type="text/event-stream")
    door.events = lambda _: door.changes()
    tab = browser.new_page(viewport={"width": width, "height": 900})
    heard = complaints_of(tab)
    for address in addresses(scene):
        tab.goto(site + address)
        assert overflow_of(tab) <= 0, address
    tab.goto("about:blank")  # the page that is open would lead to the login by itself
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


@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_nothing_wrong(
    browser: Browser, site: str, scene: Scene, door: Door, width: int
) -> None:
    context = browser.new_context(reduced_motion="reduce", viewport={"width": width, "height": 900})
    tab = context.new_page()
    for address in (*addresses(scene), "/apps/nothing-here"):
        tab.goto(site + address)
        assert wrong_with(tab) == [], address
    tab.goto("about:blank")
    door.visitor = None
    tab.goto(f"{site}/login?error=wrong_credentials")
    assert wrong_with(tab) == []
    context.close()


def wrong_with(tab: Page) -> list[str]:
    """Give what axe has to say against a page, light and dark: the rule, and the element.

    The scheme changes colours alone, so that in the dark only the rules about them are asked.
    """
    axe, wrong = Axe(), list[str]()
    tab.evaluate(axe.axe_script)
    for scheme, options in (("light", {}), ("dark", ABOUT_COLOURS)):
        tab.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        wanted = {"resultTypes": ["violations"], **options}
        found = tab.evaluate("(options) => axe.run(options)", wanted)["violations"]
        wrong += [
            f"{scheme}: {rule['id']}: {node['html'][:120]}"
            for rule in found
            for node in rule["nodes"]
        ]
    return wrong


def test_styles_and_scripts_of_each_page_stay_small(
    browser: Browser, site: str, scene: Scene
) -> None:
    for address in (
        "/",
        "/apps/shop",
        "/apps/shop/settings",
        "/deliveries",
        f"/deployments/{scene.running}",
    ):
        tab, sizes = browser.new_page(), list[int]()
        tab.on("response", lambda answer: sizes.append(size_of(answer)))  # noqa: B023 — this tab's
        tab.goto(site + address, wait_until="networkidle")
        touch_all(tab)
        tab.close()
        assert 20 * 1024 < sum(sizes) <= 40 * 1024, address


def touch_all(tab: Page) -> None:
    """Touch what loads more of the scripts; a deployment's search is not counted yet."""
    if tab.locator("[data-asks]:has([name=release])").count():
        tab.locator("[data-asks]:has([name=release]) button").first.click()
    tab.wait_for_load_state("networkidle")
    tab.wait_for_timeout(500)


def size_of(answer: Answer) -> int:
    """Give the bytes of a style sheet or a script; of anything else, 0."""
    return len(answer.body()) if "/static/" in answer.url else 0


def test_the_keyboard_goes_everywhere_and_is_seen(tab: Page, site: str, scene: Scene) -> None:
    tab.goto(f"{site}/apps/web")
    reached = []
    for _ in range(16):
        tab.keyboard.press("Tab")
        outline, words = tab.evaluate(
            "[getComputedStyle(document.activeElement).outlineStyle,"
            " document.activeElement.textContent.trim() || document.activeElement.name]"
        )
        assert outline != "none", words
        reached.append(words)
    assert reached[:4] == ["Skip to content", "Keystone", "Overview", "Deliveries"]
    assert "Pause auto-deploy" in reached
    assert "ref" in reached


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


def test_a_day_that_is_long_past_is_the_viewers_own(
    browser: Browser, site: str, scene: Scene
) -> None:
    context = browser.new_context(timezone_id="Pacific/Kiritimati")  # 14 hours before UTC
    tab = context.new_page()
    tab.goto(f"{site}/deliveries")
    said = tab.evaluate(
        "async () => { const { age } = await import('/static/times.js');"
        " return age(Date.parse('2026-09-09T11:00:00Z'), Date.parse('2026-11-23T12:00:00Z')); }"
    )
    assert said == "2026-09-10"
    context.close()


# --- Buttons ---------------------------------------------------------------------------------


def test_deploy_now_asks_for_the_ref_and_goes_to_the_new_deployment(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    door.answer = lambda: JSONResponse({"id": scene.succeeded}, status_code=202)
    tab.goto(f"{site}/apps/docs")
    tab.get_by_label("Branch or commit to deploy").fill(" feature/x ")
    tab.get_by_role("button", name="Deploy now").click()
    tab.wait_for_url(f"**/deployments/{scene.succeeded}")
    ((address, body, token),) = door.posted
    assert (address, body["ref"], token) == (
        "POST /api/apps/docs/deployments",
        " feature/x ",
        "csrf-of-ada",
    )


def test_an_empty_ref_is_not_sent(tab: Page, site: str, scene: Scene, door: Door) -> None:
    tab.goto(f"{site}/apps/docs")
    tab.get_by_role("button", name="Deploy now").click()
    tab.wait_for_url("**/deployments/1")
    assert "ref" not in door.posted[0][1]


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
    tab.goto(f"{site}/apps/docs")
    button = tab.get_by_role("button", name="Deploy now")
    with tab.expect_request("**/api/apps/*/deployments"):
        button.click()
    expect(button).to_be_disabled()
    wait_until(tab, lambda: bool(held))
    held[0].continue_()
    tab.wait_for_url("**/deployments/1")
    assert len(door.posted) == 1


def test_a_form_whose_answer_is_on_its_way_is_not_sent_again(
    tab: Page, site: str, scene: Scene
) -> None:
    held: list[Route] = []
    tab.route(
        f"{site}/tokens",
        lambda route: held.append(route) if route.request.method == "POST" else route.continue_(),
    )
    tab.goto(f"{site}/tokens")
    tab.get_by_label("Name", exact=True).fill("ci")
    make = tab.get_by_role("button", name="Make the token")
    # By the page itself: whoever clicks from here waits for the answer to the first click.
    make.evaluate("(button) => { button.click(); setTimeout(() => button.click(), 300); }")
    wait_until(tab, lambda: bool(held))
    tab.wait_for_timeout(1000)
    assert len(held) == 1
    held[0].fulfill(body="<p>ks_shown_once</p>", content_type="text/html")
    expect(tab.get_by_text("ks_shown_once")).to_be_visible()


def test_a_form_can_be_sent_again_once_its_page_is_come_back_to(
    tab: Page, site: str, scene: Scene
) -> None:
    sent: list[str] = []

    def answer(route: Route) -> None:
        if route.request.method == "POST":
            sent.append(route.request.post_data or "")
            route.fulfill(status=204)  # so that the page stays as it is
        else:
            route.continue_()

    tab.route(f"{site}/tokens", answer)
    tab.goto(f"{site}/tokens")
    tab.get_by_label("Name", exact=True).fill("ci")
    make = tab.get_by_role("button", name="Make the token")
    for _ in range(2):
        make.click()
    wait_until(tab, lambda: bool(sent))
    tab.wait_for_timeout(300)
    assert len(sent) == 1
    tab.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    make.click()
    wait_until(tab, lambda: len(sent) == 2)


def test_a_session_that_has_ended_leads_to_the_login_and_back(
    tab: Page, site: str, scene: Scene, door: Door
) -> None:
    def refuse() -> JSONResponse:
        door.visitor = None
        return JSONResponse({"error": {"code": "x", "message": "x"}}, status_code=401)

    door.answer = refuse
    tab.goto(f"{site}/apps/docs")
    tab.get_by_role("button", name="Deploy now").click()
    tab.wait_for_url("**/login?next=%2Fapps%2Fdocs")
    expect(tab.locator("[name=next]")).to_have_value("/apps/docs")


# --- While something happens ------------------------------------------------------------------


def test_the_overview_follows_what_happens(
    tab: Page, site: str, scene: Scene, database: Database
) -> None:
    tab.goto(site)  # without events, so it asks
    end_running(database, scene.running)
    expect(tab.locator('[data-live="app-shop"] .badge')).to_have_text("Running")
