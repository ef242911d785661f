"""POST /api/apps/{app}/hook: the watcher is sent to GitHub, and its answer is given."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from jobs.processes.bus import ERRANDS, Question
from tests.builders import WebRuntime, make_app

HOOK = "/api/apps/web/hook"
MADE = {
    "id": 41,
    "repository": "octo/web",
    "url": "https://x/webhooks/github",
    "is_new": True,
    "problem": "GitHub cannot reach it",
}
Watcher = Callable[[dict[str, Any]], list[Question]]


@pytest.fixture
def watcher(runtime: WebRuntime) -> Iterator[Watcher]:
    """Play the watcher: it does one errand, which comes into the list."""
    make_app(runtime)
    threads: list[threading.Thread] = []

    def play(answer: dict[str, Any]) -> list[Question]:
        errands: list[Question] = []

        def do_one() -> None:
            errand = runtime.bus.next_question(timeout_s=14, line=ERRANDS)
            assert errand is not None, "nobody asked"
            errands.append(errand)
            runtime.bus.answer(errand, answer)

        threads.append(threading.Thread(target=do_one))
        threads[-1].start()
        return errands

    yield play
    for thread in threads:
        thread.join(60)


def test_an_admin_can_install_the_webhook(admin: TestClient, watcher: Watcher) -> None:
    errands = watcher(MADE)
    answer = admin.post(HOOK)
    assert (answer.status_code, answer.json()) == (200, MADE)
    (errand,) = errands
    assert (errand.kind, errand.about["app_id"]) == ("install_hook", 1)
    assert errand.about["actor"][:2] == ["token", "the-admin"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("GitHubDeniedError", 502, "github_refused"),
        ("GitHubError", 502, "github_refused"),
        ("GitHubTokenError", 502, "github_refused"),
        ("NotFoundError", 404, "not_found"),
        ("ConfigurationError", 400, "invalid"),
        ("ConflictError", 409, "conflict"),
    ],
)
def test_a_refusal_has_githubs_own_message(
    admin: TestClient, watcher: Watcher, kind: str, status: int, code: str
) -> None:
    watcher({"error": "GitHub wants repository_hooks=write", "kind": kind})
    answer = admin.post(HOOK)
    assert answer.status_code == status
    assert answer.json()["error"] == {
        "code": code,
        "message": "GitHub wants repository_hooks=write",
    }


@pytest.mark.usefixtures("watcher")
def test_only_an_admin_may(deployer: TestClient) -> None:
    assert deployer.post(HOOK).status_code == 403


@pytest.mark.usefixtures("watcher")
def test_an_app_that_does_not_exist_is_404(admin: TestClient) -> None:
    assert admin.post("/api/apps/api/hook").status_code == 404
