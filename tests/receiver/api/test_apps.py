"""/api/apps: made, shown, changed, removed."""

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from jobs.rules.app_fields import AppInput
from jobs.states import DeploymentState
from jobs.storage.models import AuditEvent
from tests.builders import WebRuntime, make_app, make_deployment, set_state

NEW = {"name": "web", "repository": "octo/web"}


def message(answer: object) -> str:
    """Give the sentence of an error's answer."""
    text: str = answer.json()["error"]["message"]  # type: ignore[attr-defined]
    return text


def test_a_new_app_has_its_defaults_and_its_webhook(admin: TestClient) -> None:
    answer = admin.post("/api/apps", json=NEW)
    app = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, "/api/apps/web")
    assert (app["branch"], app["container_port"], app["host_port"]) == ("main", None, 20000)
    assert (app["state"], app["git_url"]) == ("new", "https://github.com/octo/web.git")
    assert app["webhook"]["url"] == "http://testserver/webhooks/github"
    assert len(app["webhook"]["secret"]) == 64
    assert app["webhook"]["problem"].startswith("GitHub cannot reach http://testserver/webhooks/")
    assert admin.get(f"/api/apps/{app['name']}").json()["webhook"]["problem"]


def test_the_webhooks_secret_is_shown_once(admin: TestClient) -> None:
    admin.post("/api/apps", json=NEW)
    second = admin.post("/api/apps", json=NEW | {"name": "api"})
    assert second.json()["webhook"]["secret"] is None
    assert admin.get("/api/apps/web").json()["webhook"]["secret"] is None


def test_apps_are_listed_by_name(admin: TestClient, runtime: WebRuntime) -> None:
    for name in ("web", "api"):
        make_app(runtime, name=name)
    answer = admin.get("/api/apps").json()
    assert [app["name"] for app in answer["items"]] == ["api", "web"]
    assert answer["next"] is None


def test_every_mistake_is_told_at_once(admin: TestClient) -> None:
    wrong = {"name": "Web!", "repository": "octo", "container_port": 0, "brunch": "main"}
    answer = admin.post("/api/apps", json=wrong)
    assert answer.status_code == 400
    assert [line.partition(":")[0] for line in sorted(message(answer).splitlines())] == [
        "brunch",
        "container_port",
        "name",
        "repository",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("git_url", "https://user:secret-value@github.com/octo/web.git"),
        ("git_url", "https://github.com/$(id)/web.git"),
        ("git_url", "ext::sh -c id"),
        ("git_url", "file:///etc"),
        ("branch", "--upload-pack=x"),
        ("dockerfile", "../../etc/passwd"),
        ("context", "/etc"),
        ("name", "web;id"),
        ("health_path", "//169.254.169.254/"),
        ("host_port", 22),
    ],
)
def test_what_others_were_broken_into_by_is_refused(
    admin: TestClient, field: str, value: object
) -> None:
    answer = admin.post("/api/apps", json=NEW | {field: value})
    assert answer.status_code == 400
    assert "secret-value" not in answer.text


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"name": "a", "name": "b"}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"", "application/json", 400),
    ],
)
def test_a_body_that_is_no_app_is_refused(
    admin: TestClient, body: bytes, kind: str, status: int
) -> None:
    answer = admin.post("/api/apps", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status


def test_a_name_is_taken_once(admin: TestClient) -> None:
    admin.post("/api/apps", json=NEW)
    answer = admin.post("/api/apps", json=NEW)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


def test_only_what_is_given_changes(admin: TestClient, runtime: WebRuntime) -> None:
    make_app(runtime, branch="stable")
    answer = admin.patch("/api/apps/web", json={"auto_deploy": False})
    assert (answer.json()["auto_deploy"], answer.json()["branch"]) == (False, "stable")


def test_what_an_app_must_have_is_not_taken_away(admin: TestClient, runtime: WebRuntime) -> None:
    make_app(runtime)
    assert admin.patch("/api/apps/web", json={"branch": None}).status_code == 400


def test_an_app_may_be_sent_back_as_it_was_described(admin: TestClient) -> None:
    told = admin.post("/api/apps", json=NEW).json()
    same = {name: told[name] for name in AppInput.model_fields if name in told}
    assert same.keys() >= {"name", "repository", "host_port"}
    answer = admin.patch("/api/apps/web", json=same | {"host_port": None, "branch": "next"})
    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in same} == same | {"branch": "next"}


@pytest.mark.parametrize(
    ("field", "other"), [("name", "other"), ("repository", "octo/other"), ("host_port", 20001)]
)
def test_what_an_app_is_known_by_stays(admin: TestClient, field: str, other: object) -> None:
    admin.post("/api/apps", json=NEW)
    answer = admin.patch("/api/apps/web", json={field: other, "branch": "next"})
    assert answer.status_code == 400
    assert message(answer).startswith(f"{field}: web keeps ")
    assert admin.get("/api/apps/web").json()["branch"] == "main"


def test_the_token_is_write_only(admin: TestClient) -> None:
    answer = admin.post("/api/apps", json=NEW | {"token": "ghp_verysecret"})
    assert answer.json()["token_set"] is True
    for path in ("/api/apps", "/api/apps/web", "/api/repositories", "/api/audit"):
        assert "ghp_verysecret" not in admin.get(path).text


def test_an_app_can_be_removed(admin: TestClient, runtime: WebRuntime) -> None:
    make_app(runtime)
    make_app(runtime, name="api")
    answer = admin.delete("/api/apps/web")
    assert (answer.status_code, answer.json()) == (
        200,
        {"removed": "web", "repository_removed": None, "notes": []},
    )
    assert admin.get("/api/apps/web").status_code == 404


def test_the_last_app_takes_its_repository_along_and_the_answer_says_so(
    admin: TestClient, runtime: WebRuntime
) -> None:
    make_app(runtime)
    answer = admin.delete("/api/apps/web").json()
    assert (answer["removed"], answer["repository_removed"]) == ("web", "octo/web")
    assert "https://github.com/octo/web/settings/hooks" in answer["notes"][1]
    assert admin.get("/api/repositories").json()["items"] == []


def test_a_change_that_takes_the_token_away_says_so(admin: TestClient) -> None:
    admin.post("/api/apps", json=NEW | {"token": "ghp_verysecret"})
    answer = admin.patch("/api/apps/web", json={"git_url": "https://git.example/octo/web.git"})
    assert answer.json()["token_set"] is False
    assert "its token was taken away" in answer.json()["notes"][0]
    assert admin.get("/api/apps/web").json()["notes"] == []


def test_an_app_that_is_being_deployed_stays(admin: TestClient, runtime: WebRuntime) -> None:
    make_app(runtime)
    deployment = make_deployment(runtime)
    assert admin.delete("/api/apps/web").status_code == 409
    set_state(runtime, deployment.id or 0, DeploymentState.SUCCESS)
    assert admin.delete("/api/apps/web").status_code == 200


def test_a_change_is_on_record_with_who_made_it(admin: TestClient, runtime: WebRuntime) -> None:
    admin.post("/api/apps", json=NEW)
    with runtime.database.reading() as session:
        event = session.exec(select(AuditEvent).where(AuditEvent.tag == "app.created")).one()
    assert (event.actor, event.target, event.address) == (
        "token:the-admin",
        "app:web",
        "testclient",
    )


@pytest.mark.parametrize("name", ["no-such-app", "NoSuchApp", "a%00b", "%2e%2e", "x" * 64])
def test_an_app_that_cannot_be_is_404(admin: TestClient, name: str) -> None:
    answer = admin.get(f"/api/apps/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
