"""Every error's answer: the right status, the same shape, nothing that helps an intruder."""

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from jobs import errors as domain
from receiver import errors
from receiver.app import create_app
from receiver.errors import answer_error
from tests.builders import WebRuntime


def request(path: str = "/api/apps", accept: str = "application/json") -> Request:
    """Make a request as far as an error handler looks at one."""
    headers = [(b"accept", accept.encode()), (b"host", b"testserver")]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
    return Request(scope)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (domain.ConfigurationError("name: is taken", "port: too"), 400, "invalid"),
        (domain.AccessError("no"), 403, "forbidden"),
        (domain.NotFoundError("no"), 404, "not_found"),
        (domain.ConflictError("no"), 409, "conflict"),
        (domain.NoReleaseError("no"), 409, "conflict"),
        (domain.StorageError("no"), 503, "storage_unavailable"),
        (domain.QueueError("no"), 503, "queue_unavailable"),
        (domain.DockerError("no"), 503, "docker_unavailable"),
        (domain.BacklogError("no"), 503, "backlog_full"),
        (domain.RouterError("no"), 500, "internal"),
        (errors.SignatureError(), 401, "unauthorized"),
        (errors.PayloadError("no"), 400, "bad_request"),
        (errors.TooSlowError("no"), 408, "too_slow"),
        (errors.TooLargeError("no"), 413, "too_large"),
        (errors.MediaTypeError("no"), 415, "unsupported_media_type"),
        (errors.HeadersTooLargeError("no"), 431, "headers_too_large"),
        (errors.UnauthenticatedError("no"), 401, "unauthenticated"),
        (errors.CsrfError("no"), 403, "csrf"),
        (errors.RateLimitedError("no"), 429, "rate_limited"),
        (errors.BusyError("no"), 503, "busy"),
        (HTTPException(405), 405, "method_not_allowed"),
        (ValueError("a mistake of ours"), 500, "internal"),
    ],
)
def test_each_error_has_its_status_and_its_code(error: Exception, status: int, code: str) -> None:
    answer = answer_error(request(), error)
    assert answer.status_code == status
    assert f'"code":"{code}"'.encode() in answer.body


def test_every_mistake_is_in_the_message() -> None:
    answer = answer_error(request(), domain.ConfigurationError("name: is taken", "port: too"))
    assert b"name: is taken\\nport: too" in answer.body


@pytest.mark.parametrize(
    "error",
    [
        domain.StorageError("could not connect to db.internal as keystone"),
        domain.DockerError("/var/run/docker.sock"),
        ValueError("a mistake of ours"),
    ],
)
def test_what_is_our_fault_is_not_described_to_strangers(error: Exception) -> None:
    answer = answer_error(request(), error)
    assert str(error).encode() not in answer.body


def test_who_should_come_back_is_told_when() -> None:
    for error in (domain.StorageError("no"), errors.BusyError("no")):
        assert answer_error(request(), error).headers["retry-after"] == "5"


def test_a_browser_gets_a_page_and_the_page_escapes() -> None:
    error = errors.PayloadError("<script>")
    answer = answer_error(request("/login", "text/html"), error)
    assert answer.headers["content-type"].startswith("text/html")
    assert b"&lt;script&gt;" in answer.body


def test_a_crash_is_a_500_without_a_traceback_but_with_our_headers(runtime: WebRuntime) -> None:
    app = create_app(runtime)
    del app.state.openapi
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/api/openapi.json")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "Traceback" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
