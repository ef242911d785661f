"""Deliveries: each push deploys once, unsigned ones are refused, ignored ones get the reason."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.payloads import FORM, NO_COMMIT, Delivery, PushPayload, encoded, ping
from tests.acceptance.project import Project, add_project
from tests.conftest import MEASURED
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker

AT_ONCE = 20
TIMED = 100


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    return add_project(keystone, git_server, "inbox")


@pytest.fixture(scope="module")
def other(keystone: Keystone, git_server: GitServer) -> Project:
    """An app of another repository with another secret."""
    return add_project(keystone, git_server, "other")


@pytest.fixture(scope="module")
def paused(keystone: Keystone, git_server: GitServer) -> Project:
    return add_project(keystone, git_server, "paused", auto_deploy=False)


# --- Each push deploys once ------------------------------------------------------------------


def test_a_redelivery_and_a_replay_get_the_first_deployment(
    keystone: Keystone, web: Project
) -> None:
    delivery = web.delivery(web.payload(web.commit("one")))
    first = keystone.deliver(delivery)
    assert first.status_code == 202
    redelivered = keystone.deliver(delivery)
    replayed = keystone.deliver(Delivery(delivery.body, web.secret))
    keystone.wait_for(first.json()["deployments"][0]["id"])
    late = keystone.deliver(delivery)
    for again in (redelivered, replayed, late):
        assert again.status_code == 200
        assert again.json()["status"] == "duplicate"
        assert again.json()["deployments"] == first.json()["deployments"]
    assert len(keystone.deployments("inbox")) == 1


def test_twenty_deliveries_at_once_make_one_deployment(keystone: Keystone, web: Project) -> None:
    before = len(keystone.deployments("inbox"))
    delivery = web.delivery(web.payload(web.commit("two")))
    again = [Delivery(delivery.body, web.secret) for _ in range(AT_ONCE // 2)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(keystone.deliver, [delivery] * (AT_ONCE // 2) + again))
    assert sorted(answer.status_code for answer in answers) == [200] * (AT_ONCE - 1) + [202]
    told = [answer.json()["deployments"] for answer in answers]
    assert all(deployments == told[0] for deployments in told)
    assert len(keystone.deployments("inbox")) == before + 1
    assert keystone.wait_for(told[0][0]["id"])["state"] == "success"
    assert web.answer() == "two"


def test_a_form_encoded_delivery_is_understood(keystone: Keystone, web: Project) -> None:
    payload = web.payload(web.commit("form"), message="Ünïcode & 100 % = plus+")
    answer = keystone.deliver(web.delivery(payload, content_type=FORM))
    assert answer.status_code == 202
    deployed = keystone.wait_for(answer.json()["deployments"][0]["id"])
    assert deployed["state"] == "success", deployed["reason"]
    assert deployed["commit_message"] == "Ünïcode & 100 % = plus+"
    assert web.answer() == "form"


# --- Signatures ------------------------------------------------------------------------------


def test_refusals_reveal_nothing_to_a_stranger(
    keystone: Keystone, web: Project, other: Project
) -> None:
    payload = web.payload("a" * 40)
    good = web.delivery(payload)
    unknown = PushPayload(1, "octo/nobody", "a" * 40, pushed_at=1)
    refused = [
        keystone.deliver(Delivery(good.body, "not the secret")),
        keystone.deliver(Delivery(good.body, other.secret)),
        keystone.deliver(Delivery(encoded(unknown.to_json()), web.secret)),
        keystone.deliver(Delivery(encoded(unknown.to_json()), "not the secret")),
        keystone.deliver(Delivery(b"not even JSON", "not the secret")),
        keystone.deliver(good, X_Hub_Signature_256=None),
        keystone.deliver(good, X_Hub_Signature_256="sha256=zz"),
        keystone.deliver(good, X_Hub_Signature_256="sha1=" + "a" * 40),
    ]
    assert {answer.status_code for answer in refused} == {401}
    assert len({answer.content for answer in refused}) == 1
    headers = [{**answer.headers, "date": ""} for answer in refused]
    assert all(found == headers[0] for found in headers)
    assert len(keystone.deployments("other")) == 0


def test_a_body_changed_by_one_byte_is_refused(keystone: Keystone, web: Project) -> None:
    delivery = web.delivery(web.payload("b" * 40))
    changed = delivery.body.replace(b"b" * 40, b"b" * 39 + b"c")
    answer = keystone.deliver(Delivery(changed, "?"), **_signature(delivery))
    assert answer.status_code == 401


def test_signed_nonsense_is_a_bad_request_and_not_an_error(
    keystone: Keystone, web: Project
) -> None:
    payload = web.payload("c" * 40).to_json()
    for broken in ({**payload, "ref": 7}, {**payload, "after": "main"}):
        answer = keystone.deliver(Delivery(encoded(broken), web.secret))
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]


def _signature(delivery: Delivery) -> dict[str, str | None]:
    name = "X-Hub-Signature-256"
    return {name.replace("-", "_"): delivery.headers[name]}


# --- Accepted without a deployment -----------------------------------------------------------


def test_a_ping_is_answered(keystone: Keystone, web: Project) -> None:
    body = encoded(ping(web.github_id, web.full_name))
    answer = keystone.deliver(Delivery(body, web.secret, event="ping"))
    assert answer.status_code == 200
    assert answer.json()["status"] == "pong"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ref": "refs/heads/feature/x"}, "inbox deploys main, not feature/x"),
        ({"ref": "refs/heads/main2"}, "inbox deploys main, not main2"),
        ({"ref": "refs/tags/v1"}, "inbox does not deploy tags"),
        ({"after": NO_COMMIT}, "main was deleted"),
        ({"message": "Tidy up [skip ci]"}, "the commit message says [skip ci]"),
    ],
)
def test_a_push_that_deploys_nothing_says_why(
    keystone: Keystone, web: Project, change: Json, reason: str
) -> None:
    before = len(keystone.deployments("inbox"))
    answer = web.send(
        web.payload("d" * 40, before=NO_COMMIT, **change)
        if "after" not in change
        else web.payload(NO_COMMIT)
    )
    assert answer.status_code == 200
    assert answer.json()["status"] == "ignored"
    assert answer.json()["reason"] == reason
    assert len(keystone.deployments("inbox")) == before
    newest = keystone.api("GET", "/api/deliveries")["items"][0]
    assert (newest["outcome"], newest["reason"]) == ("ignored", reason)


def test_a_paused_app_ignores_pushes_until_it_is_turned_on(
    keystone: Keystone, paused: Project
) -> None:
    delivery = paused.delivery(paused.payload(paused.commit("one")))
    answer = keystone.deliver(delivery)
    assert answer.json()["reason"] == "auto-deploy of paused is paused"
    keystone.api("PATCH", "/api/apps/paused", {"auto_deploy": True})
    # GitHub's "redeliver" button: Keystone judges a delivery again that deployed nothing.
    again = keystone.deliver(delivery)
    assert again.status_code == 202
    assert keystone.wait_for(again.json()["deployments"][0]["id"])["state"] == "success"
    assert paused.answer() == "one"
    keystone.api("PATCH", "/api/apps/paused", {"auto_deploy": False})


def test_an_event_of_another_kind_is_ignored(keystone: Keystone, web: Project) -> None:
    body = encoded(web.payload("e" * 40).to_json())
    answer = keystone.deliver(Delivery(body, web.secret, event="star"))
    assert answer.status_code == 200
    assert answer.json()["status"] == "ignored"


# --- Speed -----------------------------------------------------------------------------------


def test_deliveries_are_answered_long_before_github_gives_up(
    keystone: Keystone,
    web: Project,
    paused: Project,
    record_property: Callable[[str, object], None],
) -> None:
    ignored = _timed(lambda number: paused.send(paused.payload(f"{number:040x}")).status_code)
    queued = _timed(lambda number: web.send(web.payload(f"{number + 1:040x}")).status_code)
    assert max(ignored[1] + queued[1]) < 10
    assert ignored[0] == {200}
    assert queued[0] == {202}
    until(
        lambda: _is_quiet(keystone),
        timeout=120,
        what="all of them are over and GitHub was told",
        pause_s=0.5,
    )
    for name, (_, times) in {"ignored": ignored, "queued": queued}.items():
        median, slowest = statistics.median(times) * 1000, max(times) * 1000
        told = f"{TIMED} pushes {name}: median {median:.1f} ms, slowest {slowest:.1f} ms"
        record_property(MEASURED, told)


def _is_quiet(keystone: Keystone) -> bool:
    rows = keystone.deployments("inbox")
    statuses = [status for row in rows for status in row["statuses"]]
    return all(row["ended_at"] for row in rows) and all(
        status["posted_at"] or status["error"] for status in statuses
    )


def _timed(send: Callable[[int], int]) -> tuple[set[int], list[float]]:
    codes, times = set(), []
    for number in range(1, TIMED + 1):
        begun = time.perf_counter()
        codes.add(send(number))
        times.append(time.perf_counter() - begun)
    return codes, times
