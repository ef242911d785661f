"""What a real Chromium does to the text of a settings form: line breaks, blanks, hidden fields."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlmodel import select

from jobs.reads.apps import app_view
from jobs.reads.views import AppView
from jobs.storage.models import App
from receiver.app import create_app
from tests.browser import chromium
from tests.builders import (
    WebRuntime,
    change_app_row,
    change_settings,
    cookie_name,
    make_app,
    make_session,
)
from tests.receiver.live import serving

pytestmark = pytest.mark.browser

SETTINGS = "/apps/web/settings"
ODD: dict[str, Any] = {
    "command": (
        "\nlead",
        "c\n\nd",
        " ",
        "",
        '"q"',
        "t\tt",
        "x\u3000y\xa0z\u2003",
        "é'<&>\\n",
    ),
    "labels": {"a": "x\ny=1 ", "b": " 1", "c": "\xa0"},
    "skip_phrases": ("wip ", "\u3000ab"),
    "tag_pattern": "a\n\r\x0c\x85\u2028b\x7f",  # as earlier versions have taken it
    "context": " d ",
}


@pytest.fixture
def form(runtime: WebRuntime) -> Iterator[Page]:
    """The configuration of an app whose every text is odd, as an admin has it open."""
    make_app(runtime)
    change_app_row(runtime, "web", **ODD)
    with serving(create_app(runtime)) as port, chromium() as browser:
        address = f"http://127.0.0.1:{port}"
        context = browser.new_context(base_url=address)
        cookie = make_session(runtime).cookie.get_secret_value()
        context.add_cookies([{"name": cookie_name(runtime), "value": cookie, "url": address}])
        page = context.new_page()
        page.goto(SETTINGS)
        yield page
        context.close()


def save(page: Page) -> None:
    with page.expect_navigation():  # or the words of an earlier save would do
        page.get_by_role("button", name="Save").click()
    expect(page.locator("p.note.good")).to_contain_text("Saved")


def change_cpus(runtime: WebRuntime) -> None:
    with runtime.database.writing() as session:
        change_settings(session.exec(select(App)).one(), cpus=2.0)


def view(runtime: WebRuntime) -> AppView:
    with runtime.database.reading() as session:
        return app_view(session, "web", runtime.settings)


def odd(app: AppView) -> dict[str, object]:
    return {name: getattr(app, name) for name in ODD}


def test_odd_texts_outlive_a_save_beside_them_and_one_of_their_own(
    form: Page, runtime: WebRuntime
) -> None:
    form.get_by_label("Memory (MB)", exact=True).fill("700")
    change_cpus(runtime)
    save(form)
    assert odd(view(runtime)) == ODD
    assert (view(runtime).memory_mb, view(runtime).cpus) == (700, 2.0)
    added = {"Command": "\nmore", "Labels": "\nz=1", "Phrases that skip": "\nmore"}
    for label, more in added.items():
        area = form.get_by_label(label, exact=True)
        area.fill(area.input_value() + more)
    save(form)
    app = view(runtime)
    assert (app.command, app.labels) == ((*ODD["command"], "more"), {**ODD["labels"], "z": "1"})
    assert app.skip_phrases == (*ODD["skip_phrases"], "more")


def test_a_form_whose_session_ended_still_knows_what_it_showed(
    form: Page, runtime: WebRuntime
) -> None:
    form.get_by_label("Memory (MB)", exact=True).fill("700")
    cookies = form.context.cookies()
    form.context.clear_cookies()
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_role("heading", level=1)).to_have_text("Your session is over")
    change_cpus(runtime)
    form.context.add_cookies(cookies)  # type: ignore[arg-type]
    form.get_by_role("button", name="Back to the form").click()
    expect(form.get_by_role("alert")).to_contain_text("send it again")
    save(form)
    assert odd(view(runtime)) == ODD
    assert (view(runtime).memory_mb, view(runtime).cpus) == (700, 2.0)
