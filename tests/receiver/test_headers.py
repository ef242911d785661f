"""What every answer tells a browser."""

import re
from dataclasses import replace

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from jobs.states import Role
from receiver.headers import CONTENT_SECURITY_POLICY, SECURITY_HEADERS
from tests.builders import WebRuntime, make_token
from tests.receiver.asking import Answered, Asked, ask


@pytest.mark.parametrize(
    "path", ["/healthz", "/login", "/", "/api/apps", "/api/nothing", "/api/docs", "/nothing", "/x/"]
)
def test_every_answer_forbids_scripts_frames_and_guesses(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_the_policy_says_everything_that_has_no_default() -> None:
    directives = {part.split()[0] for part in CONTENT_SECURITY_POLICY.split("; ")}
    assert {"default-src", "form-action", "base-uri", "frame-ancestors"} <= directives


def test_static_files_may_be_kept(client: TestClient) -> None:
    answer = client.get("/static/keystone.css")
    assert answer.status_code == 200
    assert "no-store" not in answer.headers.get("cache-control", "")


ERRORS = {
    400: Asked("POST", "/api/tokens", {"content-type": "application/json"}, body=b"{"),
    401: Asked("GET", "/api/apps"),
    404: Asked("GET", "/nothing", {"accept": "text/html"}),
    405: Asked("PUT", "/healthz", {"accept": "text/html"}),
    413: Asked("POST", "/login", {"content-length": "99999999"}),
    415: Asked("POST", "/login", {"content-encoding": "gzip", "accept": "text/html"}),
    431: Asked("GET", "/login", {"x-long": "x" * 40_000, "accept": "text/html"}),
}


@pytest.mark.parametrize("status", ERRORS)
def test_every_error_has_them_too(client: TestClient, runtime: WebRuntime, status: int) -> None:
    asked = ERRORS[status]
    token = {"authorization": f"Bearer {make_token(runtime, name='ci', role=Role.ADMIN)}"}
    known = {} if status == 401 else token
    answer = ask(client, replace(asked, headers={**asked.headers, **known}))
    assert answer.status == status
    assert missing(answer) == set()
    assert re.findall(rb"<script(?![^>]* src=)|<style|\sstyle=", answer.body) == []


def test_a_crash_has_them_and_shows_nothing(client: TestClient, runtime: WebRuntime) -> None:
    token = make_token(runtime, name="ci", role=Role.ADMIN)
    assert isinstance(client.app, Starlette)
    client.app.state.openapi = object()  # what no answer can be made of
    for path in ("/api/openapi.json", "/api/docs"):
        answer = client.get(path, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 500
        assert set(SECURITY_HEADERS) <= set(answer.headers)
        assert "Traceback" not in answer.text
        assert "object" not in answer.text


def missing(answer: Answered) -> set[str]:
    """Give the headers that an answer does not have."""
    return {name for name in SECURITY_HEADERS if not answer.header(name)}


@pytest.mark.parametrize("path", ["/", "/deliveries", "/audit", "/nothing", "/apps/none"])
def test_pages_run_and_load_nothing_but_our_own_files(admin: TestClient, path: str) -> None:
    answer = admin.get(path, headers={"Accept": "text/html"})
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert re.findall(r"<script(?![^>]* src=)[^>]*>", answer.text) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", answer.text) == []
    loaded = re.findall(r'(?:src|<link[^>]*href)="([^"]+)"', answer.text)
    assert [url for url in loaded if not url.startswith("/") or url.startswith("//")] == []
