"""What every answer tells a browser."""

import pytest
from starlette.testclient import TestClient

from receiver.headers import CONTENT_SECURITY_POLICY


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
