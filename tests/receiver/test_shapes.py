"""The shapes that others have built upon: a field may come, none may go or change its name."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from jobs.errors import ConfigurationError
from jobs.rules.app_fields import AppChange, AppInput
from jobs.rules.mistakes import parse_input
from jobs.states import DeployOn, StepName, StepState
from receiver.endpoints import ENDPOINTS
from tests.builders import WebRuntime, change_app_row, fields_of, make_app, make_live

CONFIGURED = {
    "branch",
    "dockerfile",
    "context",
    "container_port",
    "host_port",
    "health_path",
    "health_timeout_s",
    "auto_deploy",
    "deploy_on",
    "on_new_push",
    "skip_phrases",
    "watch_paths",
    "tag_pattern",
    "domains",
    "memory_mb",
    "cpus",
    "command",
    "volumes",
    "keep_releases",
    "git_url",
}
APP = CONFIGURED | {
    "name",
    "repository",
    "id",
    "repository_id",
    "state",
    "state_reason",
    "live_deployment",
    "live_release",
    "live_commit_sha",
    "url",
    "needs_redeploy",
    "webhook",
}
DEPLOYMENT = {
    "id",
    "app",
    "number",
    "kind",
    "trigger",
    "state",
    "reason",
    "ref",
    "commit_sha",
    "commit_message",
    "author",
    "actor",
    "release",
    "queued_at",
    "started_at",
    "ended_at",
    "duration_s",
    "steps",
    "statuses",
}
DEFAULTS = {
    "container_port": None,
    "stop_signal": None,
    "health_path": None,
    "health_timeout_s": 30,
    "keep_releases": 5,
    "git_url": "https://github.com/octo/web.git",
}


def missing(wanted: set[str], found: dict[str, Any]) -> set[str]:
    return wanted - found.keys()


def test_an_app_has_its_fields_wherever_it_is_shown(admin: TestClient) -> None:
    created = admin.post("/api/apps", json={"name": "web", "repository": "octo/web"}).json()
    shown = admin.get("/api/apps/web").json()
    changed = admin.patch("/api/apps/web", json={}).json()
    (listed,) = admin.get("/api/apps").json()["items"]
    for app in (created, shown, changed, listed):
        assert missing(APP, app) == set()
        assert "token" not in app
        assert {name: app[name] for name in DEFAULTS} == DEFAULTS
    assert created["webhook"].keys() == {"url", "secret", "problem"}
    assert created["webhook"]["secret"]
    assert [app["webhook"]["secret"] for app in (shown, changed, listed)] == [None] * 3


def test_the_fields_of_an_app_that_can_be_set() -> None:
    assert CONFIGURED | {"token"} <= AppChange.model_fields.keys()
    assert CONFIGURED | {"token", "name", "repository"} <= AppInput.model_fields.keys()


def test_a_deployment_has_its_fields_wherever_it_is_shown(
    deployer: TestClient, runtime: WebRuntime
) -> None:
    make_app(runtime)
    for _ in range(2):
        make_live(runtime)
    queued = deployer.post("/api/apps/web/deployments", json={}).json()
    cancelled = deployer.post(f"/api/deployments/{queued['id']}/cancel").json()
    restored = deployer.post("/api/apps/web/rollback", json={}).json()
    shown = deployer.get(f"/api/deployments/{queued['id']}").json()
    page = deployer.get("/api/deployments?limit=1").json()
    for deployment in (queued, cancelled, restored, shown, *page["items"]):
        assert missing(DEPLOYMENT, deployment) == set()
    assert page.keys() >= {"items", "next"}
    assert datetime.fromisoformat(shown["queued_at"]).utcoffset() is not None
    assert shown["queued_at"].endswith("Z")


def test_an_app_of_tags_is_deployed_by_hand_at_its_newest_tag(
    deployer: TestClient, runtime: WebRuntime
) -> None:
    make_app(runtime)
    first = deployer.post("/api/apps/web/deployments", json={}).json()
    assert first["ref"] == "refs/heads/main"
    change_app_row(runtime, "web", deploy_on=DeployOn.TAGS)
    assert deployer.post("/api/apps/web/deployments", json={}).json()["ref"] == "refs/tags/*"
    named = deployer.post("/api/apps/web/deployments", json={"ref": "refs/tags/*"})
    assert named.status_code == 202


def test_steps_and_statuses_have_their_fields(viewer: TestClient) -> None:
    schemas = viewer.get("/api/openapi.json").json()["components"]["schemas"]
    step, status = schemas["StepView"]["properties"], schemas["StatusView"]["properties"]
    assert missing({"name", "state", "started_at", "ended_at", "reason"}, step) == set()
    assert missing({"state", "posted_at", "error"}, status) == set()
    assert schemas["StepName"]["enum"] == [str(name) for name in StepName]
    assert {"running", "success", "failure"} <= {str(state) for state in StepState}


@pytest.mark.parametrize(
    "path",
    [
        "/api/apps",
        "/api/deployments",
        "/api/deliveries",
        "/api/audit",
        "/api/users",
        "/api/tokens",
        "/api/repositories",
        "/api/certificates",
    ],
)
def test_every_list_is_a_page(admin: TestClient, path: str) -> None:
    assert admin.get(path).json().keys() == {"items", "next"}


@pytest.mark.parametrize("path", ["/api/deployments", "/api/deliveries", "/api/audit"])
@pytest.mark.parametrize("cursor", ["x", "", "-1", "0", "1.5", "9" * 30, "1;--", "null"])
def test_a_cursor_that_makes_no_sense_is_400(admin: TestClient, path: str, cursor: str) -> None:
    answer = admin.get(path, params={"before": cursor})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid")
    assert answer.json()["error"]["message"].startswith("before: ")


INPUTS = list(dict.fromkeys(each.takes for each in ENDPOINTS))


@pytest.mark.parametrize("model", INPUTS, ids=lambda model: model.__name__)
def test_a_field_that_nobody_knows_is_refused(model: type[BaseModel]) -> None:
    with pytest.raises(ConfigurationError, match="surprise: there is no such field"):
        parse_input(model, {"surprise": 1})


BODIES = list(dict.fromkeys(each.takes for each in ENDPOINTS if each.method != "GET"))
OF_NUMBERS = [(model, name) for model in BODIES for name in fields_of(model, int, float)]
OF_SWITCHES = [(model, name) for model in BODIES for name in fields_of(model, bool)]


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        *((model, name, value) for model, name in OF_NUMBERS for value in (True, "1")),
        *((model, name, value) for model, name in OF_SWITCHES for value in (1, "true")),
    ],
)
def test_a_value_of_another_type_is_refused(
    model: type[BaseModel], name: str, value: object
) -> None:
    with pytest.raises(ConfigurationError, match=rf"(?m)^{name}: Input should be a valid"):
        parse_input(model, {name: value})


@pytest.mark.parametrize(
    ("model", "name"),
    [(model, name) for model in BODIES for name in fields_of(model, *StrEnum.__subclasses__())],
)
def test_one_of_some_words_is_given_as_text(model: type[BaseModel], name: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_input(model, {name: "nonsense"})
    told = next(line for line in refused.value.problems if line.startswith(f"{name}: "))
    assert "Input should be '" in told  # and not: an instance of a class


def test_a_number_is_no_switch_at_the_door_and_a_form_may_say_it_in_text(
    admin: TestClient,
) -> None:
    app = {"name": "web", "repository": "octo/web"}
    refused = admin.post("/api/apps", json={**app, "container_port": True})
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("container_port: ")
    assert admin.post("/api/apps", json={**app, "container_port": "80"}).status_code == 400
    assert admin.post("/api/apps", data={**app, "container_port": "80"}).status_code == 201


def test_an_unknown_field_is_refused_over_http_too(admin: TestClient) -> None:
    answers = [
        admin.post("/api/tokens", json={"surprise": 1}),
        admin.post("/api/deployments/1/cancel", json={"surprise": 1}),
        admin.get("/api/audit?surprise=1"),
    ]
    for answer in answers:
        assert answer.status_code == 400
        assert "surprise: there is no such field" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/apps"])
def test_where_nothing_can_be_asked_for_a_query_means_nothing(admin: TestClient, path: str) -> None:
    assert admin.get(f"{path}?surprise=1").status_code == admin.get(path).status_code


@pytest.mark.parametrize("path", ["/api/apps/", "/api/deployments/1/", "/login/", "/healthz/"])
def test_a_slash_at_the_end_leads_to_the_address_without(client: TestClient, path: str) -> None:
    answer = client.post(path)
    assert (answer.status_code, answer.headers["location"]) == (308, path.rstrip("/"))


@pytest.mark.parametrize("path", ["/healthz", "/api/openapi.json", "/api/docs", "/login"])
def test_what_can_be_got_can_be_asked_for_its_headers(client: TestClient, path: str) -> None:
    got, asked = client.get(path), client.head(path)
    assert asked.status_code == got.status_code == 200
    assert asked.headers["content-type"] == got.headers["content-type"]
