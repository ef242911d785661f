"""A delivery that nobody vouches for is refused in one way, whatever is wrong with it.

That the answers take the same time is shown by the work and not by a clock: as many signatures are
made, over as many bytes, whoever asks.
"""

import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from receiver.app import create_app
from tests.builders import (
    SignedRequest,
    WebRuntime,
    make_app,
    payload,
    signed,
    signed_push,
    webhook_secret,
)
from tests.receiver.asking import Answered, Asked, ask
from tests.receiver.live import connected, head, read_answer, serving

SIGNATURE = "X-Hub-Signature-256"
OTHERS = "the secret of somebody else"
NO_SIGNATURE = {"unsigned", "an empty signature", "no signature at all", "an old signature"}
Refused = dict[str, SignedRequest]


def resigned(request: SignedRequest, signature: str | None) -> SignedRequest:
    """Put another signature on a request; None takes it off."""
    headers = {name: value for name, value in request.headers.items() if name != SIGNATURE}
    return SignedRequest(
        request.body, headers if signature is None else headers | {SIGNATURE: signature}
    )


@pytest.fixture
def refused(runtime: WebRuntime) -> Refused:
    """One delivery for each thing that can be wrong, all of the same length."""
    own = webhook_secret(make_app(runtime))
    other = webhook_secret(make_app(runtime, name="api", repository="octo/api"))
    right = signed_push(own)
    unknown = payload("push", repository__id=4711, repository__full_name="octo/wob")
    return {
        "unsigned": resigned(right, None),
        "an empty signature": resigned(right, ""),
        "no signature at all": resigned(right, "sha256=" + "é" * 10),
        "an old signature": resigned(right, "sha1=" + "0" * 40),
        "mis-signed": resigned(right, "sha256=" + "0" * 64),
        "signed with no secret of ours": signed_push(SecretStr(OTHERS)),
        "signed with the empty secret": signed_push(SecretStr("")),
        "another repository's secret": signed_push(other),
        "an unknown repository": signed(SecretStr(OTHERS), unknown),
        "an unknown repository, signed for a known one": signed(own, unknown),
    }


def deliver(client: TestClient, request: SignedRequest) -> Answered:
    headers = {**request.headers, "user-agent": "GitHub-Hookshot/044aadd"}
    raw = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    return ask(client, Asked("POST", "/webhooks/github", raw, body=request.body))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the lengths of the bodies that signatures are made of, as they are made."""
    made: list[int] = []
    really: Callable[..., Any] = hmac.new

    def counting(key: bytes, body: bytes, digest: Any) -> Any:  # noqa: ANN401
        made.append(len(body))
        return really(key, body, digest)

    monkeypatch.setattr(hmac, "new", counting)
    return made


def test_every_refusal_is_the_same_bytes(client: TestClient, refused: Refused) -> None:
    answers = {what: deliver(client, request) for what, request in refused.items()}
    assert {what: answer.status for what, answer in answers.items()} == dict.fromkeys(refused, 401)
    assert len({answer.body for answer in answers.values()}) == 1
    assert len({tuple(answer.headers) for answer in answers.values()}) == 1


def test_without_a_global_secret_too(runtime: WebRuntime, refused: Refused) -> None:
    """An empty secret is none: whoever signs with the empty key must not come in by it."""
    settings = runtime.settings.model_copy(update={"webhook_secret": SecretStr("")})
    with TestClient(create_app(replace(runtime, settings=settings))) as client:
        answers = [deliver(client, request) for request in refused.values()]
    assert {answer.status for answer in answers} == {401}
    assert len({(answer.body, tuple(answer.headers)) for answer in answers}) == 1


def test_every_refusal_costs_the_same_signatures(
    client: TestClient, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = counted(monkeypatch)
    work = {}
    for what, request in refused.items():
        made.clear()
        deliver(client, request)
        work[what] = (len(made), sum(made) // len(request.body))
    # As many secrets as two repositories may have, and the global one, over the whole body each;
    # what is no signature by its form is not worth one.
    assert {what: done for what, done in work.items() if what not in NO_SIGNATURE} == dict.fromkeys(
        refused.keys() - NO_SIGNATURE, (3, 3)
    )
    assert {work[what] for what in NO_SIGNATURE} == {(0, 0)}


def test_a_hundred_repositories_cost_no_more_than_one(
    client: TestClient, runtime: WebRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = webhook_secret(make_app(runtime))
    for number in range(100):
        make_app(runtime, name=f"app-{number}", repository=f"octo/app-{number}")
    made = counted(monkeypatch)
    deliver(client, signed_push(own))
    deliver(client, signed_push(SecretStr(OTHERS)))
    # 3 for each, and one that signed each of them.
    assert len(made) == 2 * 4


def test_while_one_has_several_secrets_everybody_is_tried_as_often(
    client: TestClient, admin: TestClient, runtime: WebRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = webhook_secret(make_app(runtime))
    make_app(runtime, name="api", repository="octo/api")
    assert admin.post("/api/repositories/2/webhook-secret", json={}).status_code == 201
    known = signed_push(SecretStr(OTHERS))
    unknown = signed(SecretStr(OTHERS), payload("push", repository__full_name="octo/wob"))
    turning = signed(SecretStr(OTHERS), payload("push", repository__full_name="octo/api"))
    right = signed_push(own)
    made = counted(monkeypatch)
    work = []
    for request in (known, unknown, turning, right):
        made.clear()
        deliver(client, request)
        work.append(len(made))
    assert work == [5, 5, 5, 5]


@pytest.mark.parametrize("signature", [None, "", "sha1=" + "0" * 40, "sha256=" + "0" * 63])
def test_a_body_without_a_signature_is_not_waited_for(
    runtime: WebRuntime, signature: str | None
) -> None:
    """It is refused by its head alone; whoever sends the rest all the same is heard afterwards."""
    length = 1024 * 1024
    told = {"Content_Type": "application/json", "Content_Length": str(length)}
    if signature is not None:
        told["X_Hub_Signature_256"] = signature
    with serving(create_app(runtime)) as port, connected(port) as connection:
        connection.sendall(head("POST", "/webhooks/github", **told))
        assert read_answer(connection).status == 401
        connection.sendall(b" " * length + head("GET", "/healthz"))
        assert read_answer(connection).status == 200
