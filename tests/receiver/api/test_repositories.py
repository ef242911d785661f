"""/api/repositories: where apps come from, and their tokens."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from jobs.reads.apps import find_app
from jobs.reads.secrets import repository_token, webhook_secrets
from jobs.records.deliveries import Envelope, write_down
from jobs.states import DeliveryOutcome
from jobs.storage.models import now
from receiver.app import create_app
from receiver.signature import sign
from tests.builders import WebRuntime, make_app
from tests.conftest import GLOBAL_SECRET


@pytest.fixture(autouse=True)
def web(runtime: WebRuntime) -> None:
    """The repository octo/web, with the id 1."""
    make_app(runtime)


def kept(runtime: WebRuntime) -> SecretStr | None:
    """Give the token as a worker would use it."""
    with runtime.database.reading() as session:
        return repository_token(session, 1, runtime.vault)


def test_repositories_are_listed_with_their_apps(admin: TestClient) -> None:
    [row] = admin.get("/api/repositories").json()["items"]
    assert (row["full_name"], row["apps"], row["token_set"]) == ("octo/web", ["web"], False)


def test_a_token_is_kept_and_never_shown(admin: TestClient, runtime: WebRuntime) -> None:
    answer = admin.put("/api/repositories/1/token", json={"token": "ghp_verysecret"})
    assert (answer.status_code, answer.json()["token_set"]) == (200, True)
    assert kept(runtime) == SecretStr("ghp_verysecret")
    assert "verysecret" not in answer.text
    assert "verysecret" not in admin.get("/api/audit").text


def test_an_empty_token_takes_it_away(admin: TestClient, runtime: WebRuntime) -> None:
    admin.put("/api/repositories/1/token", json={"token": "ghp_verysecret"})
    answer = admin.put("/api/repositories/1/token", json={"token": ""})
    assert (answer.json()["token_set"], kept(runtime)) == (False, None)


@pytest.mark.parametrize("body", [{}, {"token": None}, {"token": 5}, {"token": "a b"}, {"x": "y"}])
def test_what_is_no_token_is_400(admin: TestClient, body: dict[str, object]) -> None:
    assert admin.put("/api/repositories/1/token", json=body).status_code == 400


class TestIdentity:
    PATH = "/api/repositories/1"

    def test_an_admin_gives_githubs_id_and_forgets_it(self, admin: TestClient) -> None:
        [row] = admin.get("/api/repositories").json()["items"]
        assert (row["github_id"], row["identity_from"]) == (None, None)
        given = admin.patch(self.PATH, json={"github_id": 186853002}).json()
        assert (given["github_id"], given["identity_from"]) == (186853002, "operator")
        assert given["identity_checked_at"] is not None
        forgotten = admin.patch(self.PATH, json={"github_id": None}).json()
        assert (forgotten["github_id"], forgotten["identity_from"]) == (None, None)

    @pytest.mark.parametrize(
        "body",
        [{}, {"github_id": 0}, {"github_id": "x"}, {"github_id": 2**63}, {"full_name": "x/y"}],
    )
    def test_what_is_no_id_is_400(self, admin: TestClient, body: dict[str, object]) -> None:
        assert admin.patch(self.PATH, json=body).status_code == 400

    def test_an_id_that_another_one_has_is_409(
        self, admin: TestClient, runtime: WebRuntime
    ) -> None:
        make_app(runtime, name="api", repository="octo/api")
        admin.patch("/api/repositories/2", json={"github_id": 7})
        answer = admin.patch(self.PATH, json={"github_id": 7})
        assert answer.status_code == 409
        assert "octo/api --forget-github-id" in answer.json()["error"]["message"]

    def test_the_webhook_is_seen_by_what_arrives(
        self, admin: TestClient, runtime: WebRuntime
    ) -> None:
        make_app(runtime, name="api", repository="octo/api")
        with runtime.database.writing() as session:
            caught_up = Envelope("guid-1", "push", "", 2)
            write_down(session, caught_up, DeliveryOutcome.IGNORED, "it was missed")
            for number in (1, 2):
                arrived = Envelope(f"guid-{number}", "ping", "b" * 64, 1)
                write_down(session, arrived, DeliveryOutcome.PONG, "")
        seen = {
            row["full_name"]: row["webhook_seen_at"]
            for row in admin.get("/api/repositories").json()["items"]
        }
        assert seen["octo/api"] is None
        assert datetime.fromisoformat(seen["octo/web"]) <= now()


class TestRemoving:
    def test_one_with_apps_is_409(self, admin: TestClient) -> None:
        answer = admin.delete("/api/repositories/1")
        assert answer.status_code == 409
        assert "octo/web has apps" in answer.json()["error"]["message"]

    def test_one_without_goes_with_its_secrets(
        self, admin: TestClient, runtime: WebRuntime
    ) -> None:
        admin.put("/api/repositories/1/token", json={"token": "ghp_verysecret"})
        with runtime.database.writing() as session:
            session.delete(find_app(session, "web"))
        answer = admin.delete("/api/repositories/1").json()
        assert (answer["removed"], answer["repository_removed"]) == ("octo/web", "octo/web")
        assert kept(runtime) is None
        assert admin.delete("/api/repositories/1").status_code == 404


class TestTheWebhookSecret:
    PATH = "/api/repositories/1/webhook-secret"

    def verifying(self, runtime: WebRuntime) -> list[str]:
        with runtime.database.reading() as session:
            found = webhook_secrets(session, 1, runtime.vault)
        return [secret.get_secret_value() for secret in found]

    def test_a_new_one_is_shown_once_and_both_verify_for_a_day(
        self, admin: TestClient, runtime: WebRuntime
    ) -> None:
        (old,) = self.verifying(runtime)
        answer = admin.post(self.PATH, json={})
        assert answer.status_code == 201
        made = answer.json()
        assert self.verifying(runtime) == [made["secret"], old]
        left = datetime.fromisoformat(made["previous_until"]) - now()
        assert timedelta(hours=23) < left <= timedelta(hours=24)
        [row] = admin.get("/api/repositories").json()["items"]
        assert row["webhook_secret"]["previous_until"] == made["previous_until"]
        assert made["secret"] not in f"{row}{admin.get('/api/audit').text}"

    def test_deliveries_signed_with_either_are_taken_until_it_is_ended(
        self, admin: TestClient, client: TestClient, runtime: WebRuntime
    ) -> None:
        (old,) = self.verifying(runtime)
        new = admin.post(self.PATH, json={"overlap_hours": 1}).json()["secret"]
        assert [ping(client, secret) for secret in (old, new)] == [200, 200]
        assert admin.delete(f"{self.PATH}/previous").status_code == 204
        assert [ping(client, secret) for secret in (old, new)] == [401, 200]
        assert admin.delete(f"{self.PATH}/previous").status_code == 409

    def test_somebodys_own_is_taken_and_never_shown(
        self, admin: TestClient, runtime: WebRuntime
    ) -> None:
        given = {"secret": "sixteen letters!", "overlap_hours": 0}
        answer = admin.put(self.PATH, json=given)
        assert (answer.status_code, self.verifying(runtime)) == (200, ["sixteen letters!"])
        assert "sixteen" not in answer.text
        refused = admin.put(self.PATH, json={"secret": "too short"})
        assert refused.status_code == 400
        assert "at least 16 characters" in refused.json()["error"]["message"]
        assert "too short" not in refused.text

    def test_its_own_are_dropped_once_and_for_all(
        self, admin: TestClient, runtime: WebRuntime
    ) -> None:
        admin.post(self.PATH, json={})
        answers = [admin.delete(self.PATH) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        for answer in answers:
            shown = answer.json()["webhook_secret"]
            assert shown == {"since": None, "previous_until": None}
            assert GLOBAL_SECRET.get_secret_value() not in answer.text
        assert self.verifying(runtime) == []
        made = admin.post(self.PATH, json={}).json()
        assert (self.verifying(runtime), made["previous_until"]) == ([made["secret"]], None)

    def test_none_is_dropped_when_nothing_would_verify(
        self, admin: TestClient, runtime: WebRuntime
    ) -> None:
        bare = runtime.settings.model_copy(update={"webhook_secret": SecretStr("")})
        with TestClient(create_app(replace(runtime, settings=bare))) as client:
            answer = client.delete(self.PATH, headers=admin.headers)
        assert answer.status_code == 409
        assert "set KEYSTONE_WEBHOOK_SECRET" in answer.json()["error"]["message"]
        assert len(self.verifying(runtime)) == 1

    @pytest.mark.parametrize("hours", [-1, 721, "x", None])
    def test_the_time_is_bounded(self, admin: TestClient, hours: object) -> None:
        assert admin.post(self.PATH, json={"overlap_hours": hours}).status_code == 400


def ping(client: TestClient, secret: str) -> int:
    named = {"id": 186853002, "full_name": "octo/web"}
    told = {"zen": "Keep it logically awesome.", "hook_id": 1, "repository": named}
    body = json.dumps(told).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "ping",
        "X-GitHub-Delivery": "1c2d3e4f",
        "X-Hub-Signature-256": sign(body, SecretStr(secret)),
    }
    return client.post("/webhooks/github", content=body, headers=headers).status_code


def test_a_repository_that_is_not_there_is_404(admin: TestClient) -> None:
    assert admin.put("/api/repositories/9/token", json={"token": "x"}).status_code == 404
    assert admin.delete("/api/repositories/9/webhook-secret").status_code == 404
