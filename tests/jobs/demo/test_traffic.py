"""The visitors of the demo: they must notice when something is wrong."""

from http.client import HTTPException

import pytest

from jobs.demo.traffic import ask, visitors
from tests.jobs.bench import wait_for
from tests.recorder import Answer, Fault, RecordingServer, Request


class App(RecordingServer):
    """An app that says hello."""

    def answer(self, request: Request) -> Answer:
        """Say hello."""
        return Answer(200, {}, f"hello from {request.path}\n".encode())


def test_an_answer_is_given() -> None:
    with App() as app:
        assert ask(app.url) == "hello from /"
        assert ask(app.url, path="/health") == "hello from /health"


def test_what_is_no_success_is_an_error() -> None:
    with App() as app:
        app.fail(Fault(status=503, times=1))
        with pytest.raises(HTTPException, match="status 503"):
            ask(app.url)


def test_every_request_is_counted_and_every_failure_kept() -> None:
    with App() as app:
        with visitors(app.url) as tally:
            wait_for(lambda: len(app.requests) > 20)
            app.fail(Fault(status=502, times=2), Fault(reset=True, times=1))
            wait_for(lambda: len(tally.failures) == 3)
        assert tally.total == len(app.requests)
    assert set(tally.answers) == {"hello from /"}
    assert sorted(tally.failures)[:2] == ["HTTPException: status 502"] * 2
