"""/api/deployments: asked for by hand, listed, shown, cancelled."""

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from jobs.rules.waiting import UNKNOWN
from jobs.states import DeploymentState, Trigger
from jobs.storage.models import Deployment
from tests.builders import SHA_A, WebRuntime, make_app, make_deployment, set_state


@pytest.fixture(autouse=True)
def web(runtime: WebRuntime) -> None:
    """The app `web`, of the branch `main`."""
    make_app(runtime)


# --- Asking ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "ref", "commit_sha"),
    [
        ({}, "refs/heads/main", ""),
        ({"ref": None}, "refs/heads/main", ""),
        ({"ref": "feature/a"}, "refs/heads/feature/a", ""),
        ({"ref": "refs/tags/v1"}, "refs/tags/v1", ""),
        ({"ref": SHA_A.upper()}, SHA_A, SHA_A),
    ],
)
def test_a_deployment_can_be_asked_for(
    deployer: TestClient, body: dict[str, object], ref: str, commit_sha: str
) -> None:
    answer = deployer.post("/api/apps/web/deployments", json=body)
    found = answer.json()
    assert (answer.status_code, found["state"], found["trigger"]) == (202, "queued", "manual")
    assert (found["ref"], found["commit_sha"]) == (ref, commit_sha)
    assert (found["app"], found["number"], found["actor"]) == ("web", 1, "token:the-deployer")
    assert answer.headers["location"] == f"/api/deployments/{found['id']}"


def test_no_body_means_the_apps_branch(deployer: TestClient) -> None:
    answer = deployer.post("/api/apps/web/deployments")
    assert (answer.status_code, answer.json()["ref"]) == (202, "refs/heads/main")


def test_a_queued_deployment_says_what_it_waits_for(
    deployer: TestClient, runtime: WebRuntime
) -> None:
    asked = deployer.post("/api/apps/web/deployments").json()
    behind = deployer.post("/api/apps/web/deployments").json()
    assert (asked["waiting_for"], asked["place"]) == (UNKNOWN, 1)
    shown = deployer.get(f"/api/deployments/{behind['id']}").json()
    words = "deployment #1 of this app comes first"
    assert (shown["waiting_for"], shown["place"]) == (words, None)
    set_state(runtime, asked["id"], DeploymentState.SUCCESS)
    shown = deployer.get(f"/api/deployments/{asked['id']}").json()
    assert (shown["waiting_for"], shown["place"]) == (None, None)


def test_a_worker_is_woken_up(deployer: TestClient, runtime: WebRuntime) -> None:
    answer = deployer.post("/api/apps/web/deployments")
    assert runtime.queue.waiting() == {answer.json()["id"]}


@pytest.mark.parametrize("ref", ["deadbeef", "a b", "--output=/tmp/x", "HEAD", "", 7, ["main"]])
def test_a_ref_that_names_nothing_is_400_with_a_sentence(
    deployer: TestClient, runtime: WebRuntime, ref: object
) -> None:
    answer = deployer.post("/api/apps/web/deployments", json={"ref": ref})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("ref: ")
    with runtime.database.reading() as session:
        assert session.exec(select(Deployment)).all() == []


def test_an_app_that_is_not_there_cannot_be_deployed(deployer: TestClient) -> None:
    assert deployer.post("/api/apps/other/deployments").status_code == 404


# --- Looking ---------------------------------------------------------------------------------


def test_pages_go_backwards_to_the_end(viewer: TestClient, runtime: WebRuntime) -> None:
    for _ in range(5):
        make_deployment(runtime)
    seen, cursor = [], ""
    for _ in range(3):
        page = viewer.get(f"/api/deployments?limit=2{cursor}").json()
        seen.append([row["number"] for row in page["items"]])
        cursor = f"&before={page['next']}"
    assert seen == [[5, 4], [3, 2], [1]]
    assert page["next"] is None


def test_a_list_can_be_filtered(viewer: TestClient, runtime: WebRuntime) -> None:
    make_app(runtime, name="api")
    make_deployment(runtime, app="api", state=DeploymentState.FAILURE)
    make_deployment(runtime, trigger=Trigger.PUSH)

    def ids(query: str) -> list[int]:
        return [row["id"] for row in viewer.get(f"/api/deployments?{query}").json()["items"]]

    assert ids("app=api") == ids("state=failure") == [1]
    assert ids("trigger=push") == ids("app=web") == [2]
    assert ids("app=api&trigger=push") == []


@pytest.mark.parametrize(
    "query",
    [
        "state=done",
        "trigger=magic",
        "limit=0",
        "limit=101",
        "limit=ten",
        "before=-1",
        "before=99999999999999999999",
        "app=No!",
        "colour=red",
    ],
)
def test_a_filter_that_makes_no_sense_is_400(viewer: TestClient, query: str) -> None:
    answer = viewer.get(f"/api/deployments?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(query.partition("=")[0])


def test_a_filter_by_an_unknown_app_is_404(viewer: TestClient) -> None:
    assert viewer.get("/api/deployments?app=other").status_code == 404


@pytest.mark.parametrize(
    "text", ["7", "0", "-1", "abc", "1.0", "9223372036854775808", "9" * 5000, "%31%30%30", "\u0661"]
)
@pytest.mark.parametrize("path", ["", "/logs", "/events"])
def test_an_id_that_nothing_has_is_404(viewer: TestClient, text: str, path: str) -> None:
    answer = viewer.get(f"/api/deployments/{text}{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


# --- Cancelling ------------------------------------------------------------------------------


def test_a_queued_deployment_is_cancelled_at_once(
    deployer: TestClient, runtime: WebRuntime
) -> None:
    deployment = make_deployment(runtime)
    answer = deployer.post(f"/api/deployments/{deployment.id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert answer.json()["reason"] == "cancelled by token:the-deployer"


def test_a_running_one_is_told_to_stop(deployer: TestClient, runtime: WebRuntime) -> None:
    deployment = make_deployment(runtime, state=DeploymentState.RUNNING)
    answer = deployer.post(f"/api/deployments/{deployment.id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    with runtime.database.reading() as session:
        row = session.get_one(Deployment, deployment.id)
    assert row.cancelled_by == "token:the-deployer"


def test_what_is_over_cannot_be_cancelled(deployer: TestClient, runtime: WebRuntime) -> None:
    deployment = make_deployment(runtime)
    set_state(runtime, deployment.id or 0, DeploymentState.SUCCESS)
    answer = deployer.post(f"/api/deployments/{deployment.id}/cancel")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
