"""Buttons without JavaScript: a form goes back to its page, and a refusal is a page."""

import pytest
from starlette.testclient import TestClient

from jobs.states import Role
from tests.builders import WebRuntime, cookie_name, make_app, make_session

BROWSER = {"accept": "text/html,application/xhtml+xml", "referer": "http://testserver/apps/web?a=1"}
DEPLOY = "/api/apps/web/deployments"


@pytest.fixture
def form(client: TestClient, runtime: WebRuntime) -> dict[str, str]:
    """What a page of somebody who is logged in puts into its forms."""
    make_app(runtime)
    opened = make_session(runtime, role=Role.DEPLOYER)
    client.cookies.set(cookie_name(runtime), opened.cookie.get_secret_value())
    return {"csrf_token": opened.csrf_token, "ref": "", "after": "0"}


def test_a_form_goes_back_to_its_page(
    client: TestClient, form: dict[str, str], runtime: WebRuntime
) -> None:
    answer = client.post(DEPLOY, data=form, headers=BROWSER)
    assert (answer.status_code, answer.headers["location"]) == (303, "/apps/web?a=1")
    assert len(runtime.queue.waiting()) == 1


def test_a_form_sent_twice_makes_one_deployment(client: TestClient, form: dict[str, str]) -> None:
    for _ in range(2):
        assert client.post(DEPLOY, data=form, headers=BROWSER).status_code == 303
    assert len(client.get("/api/deployments").json()["items"]) == 1


@pytest.mark.parametrize(
    "referer",
    ["", "http://evil.example/apps/web", "http://testserver", "http://testserver//x", "?"],
)
def test_a_form_never_leads_to_another_site(
    client: TestClient, form: dict[str, str], referer: str
) -> None:
    answer = client.post(DEPLOY, data=form, headers={**BROWSER, "referer": referer})
    assert answer.status_code in {202, 303}
    assert answer.headers["location"] in {"/", "/api/deployments/1"}


def test_a_script_and_a_program_get_the_bare_answer(
    client: TestClient, form: dict[str, str]
) -> None:
    assert client.post(DEPLOY, data=form).json()["state"] == "queued"
    headers = {**BROWSER, "x-csrf-token": form["csrf_token"]}
    assert client.post(DEPLOY, json={}, headers=headers).json()["state"] == "queued"


def test_a_refused_form_is_answered_with_a_page_that_says_why(
    client: TestClient, form: dict[str, str]
) -> None:
    answer = client.post(DEPLOY, data={**form, "ref": "a b"}, headers=BROWSER)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/html")
    assert "ref: " in answer.text
