"""/api/apps/{app}/releases and /rollback: what can be gone back to, and asking for it."""

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from jobs.reads.apps import find_app
from jobs.states import DeploymentState, Trigger
from jobs.storage.models import App
from tests.builders import (
    SHA_A,
    SHA_B,
    SHA_C,
    WebRuntime,
    change_app_row,
    make_app,
    make_deployment,
    make_live,
    set_state,
    signed_push,
    webhook_secret,
)

ROLLBACK = "/api/apps/web/rollback"
WEBHOOK = "/webhooks/github"
RELEASES = "/api/apps/web/releases"
SHAS = (SHA_A, SHA_B, SHA_C)


@pytest.fixture(autouse=True)
def secret(runtime: WebRuntime) -> SecretStr:
    """The app `web`, and what signs its pushes."""
    return webhook_secret(make_app(runtime))


@pytest.fixture
def three(runtime: WebRuntime) -> None:
    """Three releases, the last one live."""
    for sha in SHAS:
        make_live(runtime, commit_sha=sha)


def web(runtime: WebRuntime) -> App:
    with runtime.database.reading() as session:
        return find_app(session, "web")


# --- Listing ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
def test_releases_are_listed_newest_first_with_which_can_be_gone_back_to(
    viewer: TestClient, runtime: WebRuntime
) -> None:
    change_app_row(runtime, "web", keep_releases=2)
    found = viewer.get(RELEASES).json()
    assert found["next"] is None
    assert [
        (item["number"], item["commit_sha"], item["is_live"], item["is_restorable"])
        for item in found["items"]
    ] == [(3, SHA_C, True, False), (2, SHA_B, False, True), (1, SHA_A, False, False)]


def test_an_app_that_was_never_live_has_none(viewer: TestClient) -> None:
    assert viewer.get(RELEASES).json() == {"items": [], "next": None}


@pytest.mark.usefixtures("three")
def test_no_release_shows_its_environment(viewer: TestClient) -> None:
    for item in viewer.get(RELEASES).json()["items"]:
        assert "environment" not in item


# --- Going back ------------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("body", "number"), [({}, 2), ({"release": None}, 2), ({"release": 1}, 1), (None, 2)]
)
def test_a_rollback_can_be_asked_for(
    deployer: TestClient, runtime: WebRuntime, body: dict[str, object] | None, number: int
) -> None:
    answer = deployer.post(ROLLBACK) if body is None else deployer.post(ROLLBACK, json=body)
    found = answer.json()
    assert (answer.status_code, found["state"]) == (202, "queued")
    assert (found["kind"], found["trigger"], found["release"]) == ("rollback", "rollback", number)
    assert (found["commit_sha"], found["actor"]) == (SHAS[number - 1], "token:the-deployer")
    assert answer.headers["location"] == f"/api/deployments/{found['id']}"
    assert runtime.queue.waiting() == {found["id"]}


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (3, "v3 is the live release"),
        (1, "v1 is not kept or was never live; kept are: v2"),
        (9, "v9 is not kept or was never live; kept are: v2"),
    ],
)
def test_an_impossible_rollback_is_409_and_changes_nothing(
    deployer: TestClient, runtime: WebRuntime, number: int, sentence: str
) -> None:
    change_app_row(runtime, "web", keep_releases=2)
    answer = deployer.post(ROLLBACK, json={"release": number})
    assert (answer.status_code, answer.json()["error"]) == (
        409,
        {"code": "conflict", "message": sentence},
    )
    app = web(runtime)
    assert (app.auto_deploy, app.last_deployment) == (True, 3)
    assert runtime.queue.waiting() == set()


@pytest.mark.parametrize("releases", [0, 1])
def test_without_an_earlier_release_there_is_no_way_back(
    deployer: TestClient, runtime: WebRuntime, releases: int
) -> None:
    for _ in range(releases):
        make_live(runtime)
    answer = deployer.post(ROLLBACK)
    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == "there is no earlier release to go back to"


def test_a_release_that_was_never_live_cannot_be_started_again(
    deployer: TestClient, runtime: WebRuntime
) -> None:
    _, failed, _ = [make_live(runtime) for _ in range(3)]
    set_state(runtime, failed.deployment_id, DeploymentState.FAILURE)
    answer = deployer.post(ROLLBACK, json={"release": 2})
    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == ("v2 is not kept or was never live; kept are: v1")
    assert deployer.post(ROLLBACK).json()["release"] == 1


@pytest.mark.parametrize("release", [0, -1, 2**31, "v1", 1.5, [1]])
def test_an_invalid_release_number_is_400(deployer: TestClient, release: object) -> None:
    answer = deployer.post(ROLLBACK, json={"release": release})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("release: ")


def test_an_app_that_does_not_exist_is_404(deployer: TestClient) -> None:
    assert deployer.post("/api/apps/api/rollback").status_code == 404
    assert deployer.get("/api/apps/api/releases").status_code == 404


# --- Pushes afterwards -----------------------------------------------------------------------


@pytest.mark.usefixtures("three")
def test_auto_deploy_pauses_and_says_why(admin: TestClient, deployer: TestClient) -> None:
    deployer.post(ROLLBACK)
    app = admin.get("/api/apps/web").json()
    assert (app["auto_deploy"], app["paused_reason"]) == (
        False,
        "rolled back to v2 by token:the-deployer",
    )


@pytest.mark.usefixtures("three")
def test_a_push_is_ignored_until_a_person_resumes(admin: TestClient, secret: SecretStr) -> None:
    admin.post(ROLLBACK)
    push = signed_push(secret)
    ignored = admin.post(WEBHOOK, content=push.body, headers=push.headers)
    assert (ignored.status_code, ignored.json()["status"]) == (200, "ignored")
    assert ignored.json()["reason"] == "auto-deploy of web is paused"
    resumed = admin.patch("/api/apps/web", json={"auto_deploy": True}).json()
    assert (resumed["auto_deploy"], resumed["paused_reason"]) == (True, "")
    again = admin.post(WEBHOOK, content=push.body, headers=push.headers)
    assert (again.status_code, again.json()["status"]) == (202, "queued")


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("trigger", [Trigger.PUSH, Trigger.MANUAL, Trigger.ROLLBACK])
def test_a_rollback_drops_queued_deployments_but_not_the_running_one(
    deployer: TestClient, runtime: WebRuntime, trigger: Trigger
) -> None:
    running = make_deployment(runtime, state=DeploymentState.RUNNING)
    queued = make_deployment(runtime, trigger=trigger)
    deployer.post(ROLLBACK)
    found = deployer.get(f"/api/deployments/{queued.id}").json()
    assert (found["state"], found["reason"]) == (
        "superseded",
        "rolled back to v2 by token:the-deployer",
    )
    assert deployer.get(f"/api/deployments/{running.id}").json()["state"] == "running"


@pytest.mark.usefixtures("three")
def test_the_user_who_requested_a_rollback_is_on_record(admin: TestClient) -> None:
    asked = admin.post(ROLLBACK, json={"release": 1}).json()
    newest = admin.get("/api/audit").json()["items"][0]
    assert (newest["tag"], newest["actor"]) == ("deployment.requested", "token:the-admin")
    assert newest["target"] == f"deployment:{asked['id']}"
    assert newest["details"]["trigger"] == "rollback"
