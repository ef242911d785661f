"""GitHub as the demo plays it: what it sends is what the receiver asks of the real one."""

import json

import pytest
from pydantic import SecretStr

from jobs.demo.github import REPOSITORY, deliver_push, push_payload
from jobs.demo.sample import NO_COMMIT, Change
from jobs.errors import PlatformError
from jobs.rules.triggers import Push
from receiver.payloads import JSON, parse
from receiver.signature import sign
from tests.recorder import Answer, Fault, RecordingServer, Request

SECRET = SecretStr("the webhook's secret")
CHANGE = Change(NO_COMMIT, "a" * 40, "Say hello")


class Receiver(RecordingServer):
    """A web process that accepts every push."""

    def answer(self, request: Request) -> Answer:
        """Queue deployment 7."""
        assert request.path == "/webhooks/github"
        answer = {"status": "queued", "deployments": [{"id": 7}]}
        return Answer(202, {"Content-Type": "application/json"}, json.dumps(answer).encode())


def test_the_push_is_signed_and_gives_the_deployment() -> None:
    with Receiver() as receiver:
        assert deliver_push(f"{receiver.url}/webhooks/github", SECRET, CHANGE) == 7
        (sent,) = receiver.requests
    assert sent.headers["x-hub-signature-256"] == sign(sent.body, SECRET)
    assert sent.headers["x-github-event"] == "push"


def test_the_payload_is_a_push_to_the_receiver() -> None:
    push = parse("push", JSON, json.dumps(push_payload(CHANGE)).encode())
    assert isinstance(push, Push)
    assert (push.full_name, push.ref, push.commit_sha) == (REPOSITORY, "refs/heads/main", "a" * 40)
    assert push.message == "Say hello"
    assert push.pushed_at is not None


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault(status=401, body=b'{"error": "no"}'), 'the webhook answered 401: {"error": "no"}'),
        (Fault(status=200, body=b"not JSON"), "the webhook did not answer"),
        (Fault(reset=True), "the webhook did not answer"),
    ],
)
def test_a_webhook_that_refuses_is_told(fault: Fault, sentence: str) -> None:
    with Receiver() as receiver:
        receiver.fail(fault)
        with pytest.raises(PlatformError, match=sentence):
            deliver_push(f"{receiver.url}/webhooks/github", SECRET, CHANGE)
