"""/api/tokens: keys for programs, shown once."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from jobs.storage.models import ApiToken, now
from tests.builders import WebRuntime

CI = {"name": "ci", "role": "deployer"}


def test_a_token_works_and_is_shown_once(admin: TestClient, client: TestClient) -> None:
    answer = admin.post("/api/tokens", json=CI)
    token = answer.json()["token"]
    assert (answer.status_code, token[:3]) == (201, "ks_")
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/apps", headers=headers).status_code == 200
    for path in ("/api/tokens", "/api/audit"):
        assert token not in admin.get(path).text


def test_tokens_are_listed_newest_first(admin: TestClient) -> None:
    admin.post("/api/tokens", json=CI)
    names = [token["name"] for token in admin.get("/api/tokens").json()["items"]]
    assert names == ["ci", "the-admin"]


def test_a_revoked_token_is_worthless_at_once(admin: TestClient, client: TestClient) -> None:
    token = admin.post("/api/tokens", json=CI).json()["token"]
    assert admin.delete("/api/tokens/ci").status_code == 204
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/apps", headers=headers).status_code == 401
    assert admin.delete("/api/tokens/ci").status_code == 404


def test_a_name_is_taken_once_at_a_time(admin: TestClient) -> None:
    assert [admin.post("/api/tokens", json=CI).status_code for _ in range(2)] == [201, 409]
    admin.delete("/api/tokens/ci")
    assert admin.post("/api/tokens", json=CI).status_code == 201


@pytest.mark.parametrize("change", [{"name": "C I"}, {"role": "root"}, {"token": "ks_mine"}])
def test_a_token_that_will_not_do_is_400(admin: TestClient, change: dict[str, object]) -> None:
    assert admin.post("/api/tokens", json=CI | change).status_code == 400


@pytest.mark.parametrize(("given", "days"), [({}, 365), ({"expires_in_days": 1}, 1)])
def test_a_token_ends_by_itself(admin: TestClient, given: dict[str, int], days: int) -> None:
    made = admin.post("/api/tokens", json=CI | given).json()
    lasts = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert abs(lasts - timedelta(days=days)) < timedelta(minutes=1)
    assert made["state"] == "active"


@pytest.mark.parametrize("days", [0, -1, 3651, None, "never", 1.5])
def test_a_time_that_will_not_do_is_400(admin: TestClient, days: object) -> None:
    answer = admin.post("/api/tokens", json=CI | {"expires_in_days": days})
    assert answer.status_code == 400
    assert "expires_in_days" in answer.json()["error"]["message"]


def test_the_list_says_which_tokens_still_work(admin: TestClient, runtime: WebRuntime) -> None:
    for name in ("revoked", "expired", "active"):
        admin.post("/api/tokens", json=CI | {"name": name})
    admin.delete("/api/tokens/revoked")
    with runtime.database.writing() as session:
        row = session.exec(select(ApiToken).where(ApiToken.name == "expired")).one()
        row.expires_at = now() - timedelta(seconds=1)
    listed = {token["name"]: token["state"] for token in admin.get("/api/tokens").json()["items"]}
    assert listed == {
        "active": "active",
        "expired": "expired",
        "revoked": "revoked",
        "the-admin": "active",
    }
