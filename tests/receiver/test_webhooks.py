"""POST /webhooks/github from the outside: who is believed, what is answered, what is kept."""

import json
import sqlite3
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response
from pydantic import SecretStr
from redis import Redis
from sqlmodel import select
from starlette.testclient import TestClient

from jobs.processes.bus import Bus, connect
from jobs.processes.queue import WorkQueue
from jobs.states import DeliveryOutcome, DeploymentState, IdentitySource
from jobs.storage.database import Database
from jobs.storage.models import AuditEvent, Delivery, Deployment, Repository, RepositorySecret, now
from receiver.app import create_app
from receiver.signature import sign
from tests.builders import (
    SHA_A,
    SHA_B,
    SHA_C,
    SignedRequest,
    WebRuntime,
    make_app,
    payload,
    signed,
    signed_push,
    webhook_secret,
)
from tests.conftest import GLOBAL_SECRET

WEBHOOK = "/webhooks/github"
OWN_SECRET = "/api/repositories/1/webhook-secret"
OTHER_ID = 4242
Changes = dict[str, Any]


@pytest.fixture
def secret(runtime: WebRuntime) -> SecretStr:
    """The webhook secret of octo/web, which the app `web` deploys."""
    return webhook_secret(make_app(runtime))


def deliver(client: TestClient, request: SignedRequest, **headers: str) -> Response:
    """Send a delivery; a header given here replaces the request's own."""
    return client.post(WEBHOOK, content=request.body, headers={**request.headers, **headers})


def without(request: SignedRequest, *names: str) -> SignedRequest:
    """Take headers away."""
    kept = {name: value for name, value in request.headers.items() if name not in names}
    return replace(request, headers=kept)


def deployments(runtime: WebRuntime) -> list[Deployment]:
    """Give every deployment there is, oldest first."""
    with runtime.database.reading() as session:
        return list(session.exec(select(Deployment).order_by("id")).all())


def deliveries(runtime: WebRuntime) -> list[Delivery]:
    """Give every delivery there is, oldest first."""
    with runtime.database.reading() as session:
        return list(session.exec(select(Delivery).order_by("id")).all())


# --- What is accepted ------------------------------------------------------------------------


def test_a_push_is_queued_and_answered_202(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    answer = deliver(client, signed_push(secret, guid="the-guid"))
    [deployment] = deployments(runtime)
    assert answer.status_code == 202
    assert answer.json() == {
        "status": "queued",
        "delivery": "the-guid",
        "reason": "",
        "deployments": [{"id": deployment.id, "app": "web", "number": 1, "commit_sha": SHA_B}],
    }


def test_a_worker_is_woken_up(client: TestClient, runtime: WebRuntime, secret: SecretStr) -> None:
    deliver(client, signed_push(secret))
    assert runtime.queue.waiting() == {deployments(runtime)[0].id}


def test_everything_about_a_push_is_written_down(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    deliver(client, signed_push(secret, guid="the-guid"))
    [delivery] = deliveries(runtime)
    [deployment] = deployments(runtime)
    assert (delivery.guid, delivery.event, delivery.outcome) == ("the-guid", "push", "queued")
    assert (delivery.ref, delivery.commit_sha, delivery.sender) == ("refs/heads/main", SHA_B, "ada")
    assert (deployment.actor, deployment.author) == ("webhook:ada", "Ada Lovelace")
    assert deployment.pushed_at == 1795443345
    with runtime.database.reading() as session:
        tags = {event.tag for event in session.exec(select(AuditEvent)).all()}
    assert {"delivery.accepted", "deployment.requested"} <= tags


def test_a_form_is_as_good_as_json(client: TestClient, secret: SecretStr) -> None:
    assert deliver(client, signed_push(secret, as_form=True)).status_code == 202


def test_a_content_type_may_have_parameters(client: TestClient, secret: SecretStr) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert deliver(client, signed_push(secret), **headers).status_code == 202


def test_a_push_to_another_branch_is_ignored_with_the_reason(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    answer = deliver(client, signed_push(secret, ref="refs/heads/other"))
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert answer.json()["reason"] == "web deploys main, not other"
    assert deployments(runtime) == []


def test_two_apps_of_one_repository_are_deployed_by_one_push(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    make_app(runtime, name="api")
    answer = deliver(client, signed_push(secret))
    assert [row["app"] for row in answer.json()["deployments"]] == ["api", "web"]


def test_a_ping_is_answered_pong(client: TestClient, secret: SecretStr) -> None:
    answer = deliver(client, signed(secret, payload("ping"), event="ping"))
    assert (answer.status_code, answer.json()["status"]) == (200, "pong")


def test_an_organizations_ping_needs_the_global_secret(
    client: TestClient, secret: SecretStr
) -> None:
    data = payload("ping_organization")
    answer = deliver(client, signed(GLOBAL_SECRET, data, event="ping"))
    assert (answer.status_code, answer.json()["status"]) == (200, "pong")


def test_another_event_is_ignored_and_kept(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    answer = deliver(client, signed(secret, payload("issues"), event="issues"))
    assert answer.status_code == 200
    assert answer.json()["reason"] == "Keystone does not act on issues"
    assert deliveries(runtime)[0].outcome is DeliveryOutcome.IGNORED


def test_a_new_app_counts_at_once(client: TestClient, runtime: WebRuntime) -> None:
    first = webhook_secret(make_app(runtime))
    assert deliver(client, signed_push(first)).status_code == 202
    second = webhook_secret(make_app(runtime, name="api", repository="octo/api"))
    changes: Changes = {"repository__id": OTHER_ID, "repository__full_name": "octo/api"}
    assert deliver(client, signed_push(second, **changes)).status_code == 202


# --- Once and only once ----------------------------------------------------------------------


def test_a_redelivery_is_answered_with_the_first_ones_deployments(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    request = signed_push(secret)
    first, again = deliver(client, request), deliver(client, request)
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    assert again.json()["deployments"] == first.json()["deployments"]
    assert len(deployments(runtime)) == 1


def test_a_replay_with_a_new_guid_deploys_nothing(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    request = signed_push(secret)
    first = deliver(client, request)
    again = deliver(client, request, **{"X-GitHub-Delivery": "a-fresh-guid"})
    assert again.json()["status"] == "duplicate"
    assert again.json()["deployments"] == first.json()["deployments"]
    assert len(deployments(runtime)) == 1


def test_a_signed_push_replayed_as_another_event_deploys_nothing(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    request = signed_push(secret)
    assert deliver(client, request, **{"X-GitHub-Event": "issues"}).json()["status"] == "ignored"
    assert deliver(client, request, **{"X-GitHub-Event": "ping"}).status_code == 400
    assert deployments(runtime) == []


def test_another_events_body_replayed_as_a_push_is_refused(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    request = signed(secret, payload("issues"), event="push")
    assert deliver(client, request).status_code == 400
    assert deployments(runtime) == []


def test_twenty_simultaneous_deliveries_make_one_deployment(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    request = signed_push(secret)
    barrier = threading.Barrier(20)

    def send(_: int) -> Response:
        barrier.wait(60)
        return deliver(client, request)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(send, range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({str(answer.json()["deployments"]) for answer in answers}) == 1
    assert len(deployments(runtime)) == 1


def test_an_older_push_that_comes_late_replaces_nothing(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    newer: Changes = {"repository__pushed_at": 2000, "after": SHA_C, "head_commit__id": SHA_C}
    older: Changes = {"repository__pushed_at": 1000, "before": SHA_A}
    deliver(client, signed_push(secret, **newer))
    deliver(client, signed_push(secret, **older))
    states = {row.commit_sha: row.state for row in deployments(runtime)}
    assert states == {SHA_C: DeploymentState.QUEUED, SHA_B: DeploymentState.SUPERSEDED}


# --- Who is believed -------------------------------------------------------------------------


def test_every_refusal_has_the_same_bytes(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    other = webhook_secret(make_app(runtime, name="api", repository="octo/api"))
    good = signed_push(secret)
    stranger: Changes = {"repository__id": OTHER_ID, "repository__full_name": "octo/unknown"}
    signature = "X-Hub-Signature-256"
    refusals = [
        deliver(client, without(good, signature)),
        deliver(client, good, **{signature: "sha256=" + "0" * 64}),
        deliver(client, good, **{signature: "sha256=" + "A" * 64}),
        deliver(client, good, **{signature: "sha1=" + "0" * 40}),
        deliver(client, signed_push(SecretStr("a guess"))),
        deliver(client, signed_push(SecretStr(""))),
        deliver(client, signed_push(other)),
        deliver(client, signed_push(secret, **stranger)),
        deliver(client, signed(SecretStr("a guess"), b"not even JSON")),
        deliver(client, without(signed_push(SecretStr("a guess")), "X-GitHub-Event")),
        deliver(client, signed_push(GLOBAL_SECRET)),
    ]
    assert {answer.status_code for answer in refusals} == {401}
    assert len({answer.content for answer in refusals}) == 1
    assert len({str(sorted(answer.headers.items())) for answer in refusals}) == 1
    assert deliveries(runtime) == []


def test_a_second_signature_header_is_refused(client: TestClient, secret: SecretStr) -> None:
    request = signed_push(secret)
    headers = [*request.headers.items(), ("X-Hub-Signature-256", "sha256=" + "0" * 64)]
    answer = client.post(WEBHOOK, content=request.body, headers=headers)
    assert answer.status_code == 401


def test_an_unset_global_secret_verifies_nothing(runtime: WebRuntime) -> None:
    bare = replace(
        runtime, settings=runtime.settings.model_copy(update={"webhook_secret": SecretStr("")})
    )
    with TestClient(create_app(bare)) as client:
        assert deliver(client, signed_push(SecretStr(""))).status_code == 401


def test_an_unknown_repository_signed_globally_is_ignored(
    client: TestClient, runtime: WebRuntime
) -> None:
    answer = deliver(client, signed_push(GLOBAL_SECRET))
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert answer.json()["reason"] == "no app deploys octo/web"
    assert deliveries(runtime)[0].repository_id is None


def test_the_global_secret_speaks_for_a_repository_without_its_own(
    client: TestClient, admin: TestClient, secret: SecretStr
) -> None:
    assert deliver(client, signed_push(GLOBAL_SECRET)).status_code == 401
    assert admin.delete(OWN_SECRET).status_code == 200
    assert deliver(client, signed_push(secret)).status_code == 401
    assert deliver(client, signed_push(GLOBAL_SECRET)).status_code == 202
    assert admin.post(OWN_SECRET, json={}).status_code == 201
    assert deliver(client, signed_push(GLOBAL_SECRET)).status_code == 401


def test_either_of_two_secrets_is_good_while_one_replaces_the_other(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    newer = SecretStr("the secret that comes next")
    with runtime.database.writing() as session:
        old = session.exec(select(RepositorySecret)).one()
        sealed = runtime.vault.seal(newer)
        session.add(RepositorySecret(repository_id=old.repository_id, kind=old.kind, sealed=sealed))
    assert deliver(client, signed_push(newer)).status_code == 202
    assert deliver(client, signed_push(secret)).json()["status"] == "duplicate"


# --- Which repository it is for --------------------------------------------------------------


def repository(runtime: WebRuntime, number: int = 1) -> Repository:
    """Read a repository's row."""
    with runtime.database.reading() as session:
        return session.get_one(Repository, number)


def set_row(runtime: WebRuntime, number: int = 1, **columns: object) -> None:
    """Set columns of a repository's row."""
    with runtime.database.writing() as session:
        row = session.get_one(Repository, number)
        for name, value in columns.items():
            setattr(row, name, value)


def proven(runtime: WebRuntime, github_id: int, number: int = 1) -> None:
    """Have GitHub have said which repository one is, a while ago."""
    set_row(
        runtime,
        number,
        github_id=github_id,
        identity_from=IdentitySource.GITHUB,
        identity_due_at=now() + timedelta(hours=12),
    )


def is_asked_soon(runtime: WebRuntime, number: int = 1) -> bool:
    """Whether GitHub is asked about a repository within a minute or so."""
    due_at = repository(runtime, number).identity_due_at
    return due_at is None or due_at - now() < timedelta(minutes=2)


def test_nothing_is_learnt_from_a_delivery(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    set_row(runtime, identity_due_at=now() + timedelta(hours=12))
    assert deliver(client, signed_push(secret)).status_code == 202
    row = repository(runtime)
    assert (row.github_id, row.identity_from, row.full_name) == (None, None, "octo/web")
    assert is_asked_soon(runtime)


def test_one_repositorys_secret_takes_no_other_ones_identity(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    """The owner of octo/web signs that octo/web has the id of octo/api, which has not pushed."""
    other = webhook_secret(make_app(runtime, name="api", repository="octo/api"))
    assert deliver(client, signed_push(secret, repository__id=OTHER_ID)).status_code == 202
    own: Changes = {"repository__id": OTHER_ID, "repository__full_name": "octo/api"}
    answer = deliver(client, signed_push(other, **own))
    assert answer.status_code == 202
    assert [row["app"] for row in answer.json()["deployments"]] == ["api"]
    assert [repository(runtime, number).github_id for number in (1, 2)] == [None, None]


def test_a_signed_rename_binds_no_other_repository(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    """Whoever holds the secret of octo/web would like to be corp/secret."""
    proven(runtime, 186853002)
    renamed: Changes = {"repository__full_name": "corp/secret"}
    assert deliver(client, signed_push(secret, **renamed)).status_code == 202
    assert repository(runtime).full_name == "octo/web"
    created = make_app(runtime, name="secret", repository="corp/secret")
    assert created.webhook_secret is not None
    assert created.app.repository_id == 2
    assert repository(runtime, 2).git_url == "https://github.com/corp/secret.git"


def test_a_renamed_repository_is_known_by_its_proven_id(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    proven(runtime, 186853002)
    renamed: Changes = {"repository__full_name": "octo/site"}
    answer = deliver(client, signed_push(secret, **renamed))
    assert answer.status_code == 202
    assert repository(runtime).full_name == "octo/web"
    assert is_asked_soon(runtime)


def test_a_repository_that_was_deleted_and_made_again_still_deploys(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    proven(runtime, OTHER_ID)
    assert deliver(client, signed_push(secret)).status_code == 202
    assert repository(runtime).github_id == OTHER_ID
    assert is_asked_soon(runtime)


def test_a_delivery_with_the_known_identity_asks_github_nothing(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    proven(runtime, 186853002)
    assert deliver(client, signed_push(secret)).status_code == 202
    assert not is_asked_soon(runtime)


def test_claims_do_not_shorten_a_pause_that_github_wants(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    until = now() + timedelta(minutes=50)
    set_row(runtime, identity_due_at=until, identity_paused_until=until)
    assert deliver(client, signed_push(secret)).status_code == 202
    assert repository(runtime).identity_due_at == until


@pytest.mark.parametrize("spelled", ["OCTO/Web", "octo/WEB"])
def test_the_case_of_a_name_does_not_matter(
    client: TestClient, secret: SecretStr, spelled: str
) -> None:
    assert deliver(client, signed_push(secret, repository__full_name=spelled)).status_code == 202


def test_neither_the_id_nor_the_name_is_a_stranger(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    proven(runtime, 186853002)
    stranger: Changes = {"repository__id": OTHER_ID, "repository__full_name": "octo/site"}
    assert deliver(client, signed_push(secret, **stranger)).status_code == 401
    assert deliveries(runtime) == []


def test_the_proven_id_counts_more_than_the_name(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    """Two repositories have swapped their names, and GitHub was not asked since."""
    other = webhook_secret(make_app(runtime, name="api", repository="octo/api"))
    proven(runtime, 1001, 1)
    proven(runtime, 1002, 2)
    swapped: Changes = {"repository__id": 1001, "repository__full_name": "octo/api"}
    answer = deliver(client, signed_push(secret, **swapped))
    assert [row["app"] for row in answer.json()["deployments"]] == ["web"]
    # The same claim signed with the secret of whoever has the name by now is theirs.
    answer = deliver(client, signed_push(other, **swapped))
    assert [row["app"] for row in answer.json()["deployments"]] == ["api"]


def test_a_wrong_id_that_an_operator_gave_keeps_nobody_out(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    make_app(runtime, name="api", repository="octo/api")
    set_row(runtime, 2, github_id=186853002, identity_from=IdentitySource.OPERATOR)
    answer = deliver(client, signed_push(secret))
    assert [row["app"] for row in answer.json()["deployments"]] == ["web"]


def test_the_global_secret_finds_a_repository_by_name_or_proven_id(
    client: TestClient, admin: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    assert admin.delete(OWN_SECRET).status_code == 200
    assert deliver(client, signed_push(GLOBAL_SECRET)).status_code == 202
    proven(runtime, 186853002)
    renamed: Changes = {"repository__full_name": "octo/site", "after": SHA_C}
    assert deliver(client, signed_push(GLOBAL_SECRET, **renamed)).status_code == 202
    stranger: Changes = {"repository__full_name": "octo/site", "repository__id": OTHER_ID}
    answer = deliver(client, signed_push(GLOBAL_SECRET, **stranger))
    assert answer.json()["reason"] == "no app deploys octo/site"


def test_an_operators_id_is_believed(
    client: TestClient, admin: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    renamed: Changes = {"repository__full_name": "octo/site"}
    assert deliver(client, signed_push(secret, **renamed)).status_code == 401
    admin.patch("/api/repositories/1", json={"github_id": 186853002})
    assert deliver(client, signed_push(secret, **renamed)).status_code == 202


@pytest.mark.parametrize("as_form", [False, True])
def test_a_body_may_name_its_repository_last_and_in_other_letters(
    client: TestClient, secret: SecretStr, *, as_form: bool
) -> None:
    data = payload("push")
    data["repository"] = data.pop("repository")
    data["repository"]["full_name"] = "Octo/Web"
    body = json.dumps(data).replace("/", "\\/").encode()
    assert deliver(client, signed(secret, body, as_form=as_form)).status_code == 202


# --- What is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"X-GitHub-Event": "Push"},
        {"X-GitHub-Event": "push,push"},
        {"X-GitHub-Event": "p" * 51},
        {"X-GitHub-Delivery": ""},
        {"X-GitHub-Delivery": "a/../b"},
        {"X-GitHub-Delivery": "g" * 101},
    ],
)
def test_signed_with_unusable_headers_is_400(
    client: TestClient, secret: SecretStr, headers: dict[str, str]
) -> None:
    assert deliver(client, signed_push(secret), **headers).status_code == 400


@pytest.mark.parametrize("name", ["X-GitHub-Event", "X-GitHub-Delivery"])
def test_signed_without_a_header_is_400(client: TestClient, secret: SecretStr, name: str) -> None:
    assert deliver(client, without(signed_push(secret), name)).status_code == 400


NONSENSE = [
    b"",
    b"null",
    b"[]",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"ref": NaN}',
    b'{"a": 1, "a": 2}',
    b'{"repository": {"id": ' + b"9" * 5000 + b"}}",
]


@pytest.mark.parametrize("body", NONSENSE)
def test_signed_nonsense_is_400(client: TestClient, secret: SecretStr, body: bytes) -> None:
    named = b'{"repository":{"full_name":"octo/web"}}' + body
    for request in (signed(GLOBAL_SECRET, body), signed(secret, named)):
        answer = deliver(client, request)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "bad_request"


@pytest.mark.parametrize("body", NONSENSE)
def test_what_names_no_repository_proves_nothing_by_a_repositorys_own_secret(
    client: TestClient, secret: SecretStr, body: bytes
) -> None:
    assert deliver(client, signed(secret, body)).status_code == 401


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", ""])
def test_another_content_type_is_415(client: TestClient, secret: SecretStr, kind: str) -> None:
    answer = deliver(client, signed_push(secret), **{"Content-Type": kind})
    assert answer.status_code == 415


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_is_405(client: TestClient, method: str) -> None:
    answer = client.request(method, WEBHOOK)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_hostile_text_comes_back_as_data_only(
    client: TestClient, viewer: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    script = "<script>alert(1)</script>"
    request = signed_push(secret, head_commit__message=script, head_commit__author={"name": script})
    deliver(client, request)
    answer = viewer.get("/api/deployments")
    assert answer.json()["items"][0]["commit_message"] == script
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


# --- When something is down ------------------------------------------------------------------


def test_without_redis_a_push_is_accepted_all_the_same(
    runtime: WebRuntime, secret: SecretStr
) -> None:
    nowhere = connect(f"unix://{runtime.settings.data_dir}/no-redis.sock")
    lonely = replace(
        runtime,
        queue=WorkQueue(nowhere, runtime.identity),
        bus=Bus(nowhere, runtime.identity),
    )
    with TestClient(create_app(lonely)) as client:
        assert deliver(client, signed_push(secret)).status_code == 202
    assert len(deployments(runtime)) == 1


def test_a_locked_database_is_503_and_nothing_is_kept(
    runtime: WebRuntime, secret: SecretStr
) -> None:
    quick = Database(runtime.settings.effective_database_url, busy_timeout_ms=100)
    impatient = replace(runtime, database=quick)
    other = sqlite3.connect(runtime.settings.data_dir / "keystone.db", isolation_level=None)
    request = signed_push(secret)
    with TestClient(create_app(impatient)) as client:
        other.execute("BEGIN IMMEDIATE")
        answer = deliver(client, request)
        other.execute("ROLLBACK")
        other.close()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert deliveries(runtime) == []
        assert deliver(client, request).status_code == 202


def test_secrets_that_our_key_does_not_open_are_our_fault(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    with runtime.database.writing() as session:
        session.exec(select(RepositorySecret)).one().sealed = b"sealed by somebody else"
    answer = deliver(client, signed_push(secret))
    assert answer.status_code == 503
    assert "KEY" not in answer.text


def test_an_answer_takes_a_fraction_of_githubs_ten_seconds(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    for number in range(50):
        make_app(runtime, name=f"app-{number}", repository=f"octo/app-{number}")
    took = []
    for number in range(20):
        request = signed_push(secret, after=f"{number:040x}", repository__pushed_at=number)
        began = time.monotonic()
        assert deliver(client, request).status_code == 202
        took.append(time.monotonic() - began)
    assert statistics.median(took) < 1


def test_redis_hears_of_a_push_after_the_answer(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    deliver(client, signed_push(secret))
    with Redis.from_url(runtime.settings.redis_url) as redis:
        assert redis.llen(f"rq:queue:{runtime.queue.name()}") == 1


def test_the_signature_is_over_the_raw_bytes(client: TestClient, secret: SecretStr) -> None:
    spaced = signed_push(secret).body.replace(b": ", b" :  ")
    request = signed(secret, spaced)
    assert request.headers["X-Hub-Signature-256"] == sign(spaced, secret)
    assert deliver(client, request).status_code == 202
