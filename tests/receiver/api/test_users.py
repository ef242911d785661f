"""/api/users: who may log in."""

import pytest
from starlette.testclient import TestClient

from jobs.states import Role
from tests.builders import PASSWORD, WebRuntime, cookie_name, make_session, make_user

BOB = {"name": "bob", "role": "viewer", "password": PASSWORD}


def test_a_new_user_can_log_in(admin: TestClient, client: TestClient) -> None:
    answer = admin.post("/api/users", json=BOB)
    assert (answer.status_code, answer.json()["disabled"]) == (201, False)
    assert PASSWORD not in answer.text
    form = {"name": "bob", "password": PASSWORD}
    assert client.post("/login", data=form).headers["location"] == "/"


def test_users_are_listed_without_their_hashes(admin: TestClient, runtime: WebRuntime) -> None:
    make_session(runtime, name="zoe")
    make_session(runtime, name="ada")
    answer = admin.get("/api/users")
    assert [user["name"] for user in answer.json()["items"]] == ["ada", "zoe"]
    assert "hash" not in answer.text


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Bob!"},
        {"role": "king"},
        {"password": "short"},
        {"password": "bob12345"},
        {"password": None},
        {"x": 1},
    ],
)
def test_a_user_that_will_not_do_is_400(admin: TestClient, change: dict[str, object]) -> None:
    answer = admin.post("/api/users", json=BOB | change)
    assert answer.status_code == 400
    assert "short" not in answer.text


def test_a_name_is_taken_once(admin: TestClient, runtime: WebRuntime) -> None:
    make_session(runtime, name="bob")
    assert admin.post("/api/users", json=BOB).status_code == 409


def test_a_role_can_change(admin: TestClient, runtime: WebRuntime) -> None:
    make_session(runtime, name="bob", role=Role.VIEWER)
    answer = admin.patch("/api/users/bob", json={"role": "deployer"})
    assert (answer.status_code, answer.json()["role"]) == (200, "deployer")


def test_shutting_a_user_out_ends_the_sessions_for_good(
    admin: TestClient, client: TestClient, runtime: WebRuntime
) -> None:
    opened = make_session(runtime, name="bob", role=Role.VIEWER)
    client.cookies.set(cookie_name(runtime), opened.cookie.get_secret_value())
    assert client.get("/api/apps").status_code == 200
    assert admin.patch("/api/users/bob", json={"disabled": True}).json()["disabled"] is True
    assert client.get("/api/apps").status_code == 401
    assert admin.patch("/api/users/bob", json={"disabled": False}).json()["disabled"] is False
    assert client.get("/api/apps").status_code == 401


def test_a_new_password_counts_and_the_old_one_does_not(
    admin: TestClient, client: TestClient, runtime: WebRuntime
) -> None:
    make_user(runtime, name="bob", role=Role.VIEWER)
    admin.patch("/api/users/bob", json={"password": "a new password"})
    old = client.post("/login", json={"name": "bob", "password": PASSWORD})
    new = client.post("/login", json={"name": "bob", "password": "a new password"})
    assert (old.status_code, new.status_code) == (401, 200)


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"disabled": True}])
def test_the_last_admin_stays_one(
    admin: TestClient, runtime: WebRuntime, change: dict[str, object]
) -> None:
    make_session(runtime, name="ada")
    assert admin.patch("/api/users/ada", json=change).status_code == 409
    assert admin.delete("/api/users/ada").status_code == 409


def test_an_admin_who_is_shut_out_does_not_count(admin: TestClient, runtime: WebRuntime) -> None:
    make_session(runtime, name="ada")
    make_session(runtime, name="bob")
    assert admin.patch("/api/users/bob", json={"disabled": True}).status_code == 200
    assert admin.delete("/api/users/ada").status_code == 409


def test_a_user_can_be_removed(admin: TestClient, runtime: WebRuntime) -> None:
    make_session(runtime, name="bob", role=Role.VIEWER)
    assert admin.delete("/api/users/bob").status_code == 204
    assert admin.delete("/api/users/bob").status_code == 404


def test_an_admin_sees_where_a_user_is_logged_in_and_ends_it(
    admin: TestClient, client: TestClient, runtime: WebRuntime
) -> None:
    opened = make_session(runtime, name="bob", role=Role.VIEWER)
    cookie = opened.cookie.get_secret_value()
    client.cookies.set(cookie_name(runtime), cookie)
    client.get("/api/apps")
    answer = admin.get("/api/users/bob/sessions")
    (session,) = answer.json()["items"]
    assert (session["is_current"], "hashed" in session) == (False, False)
    assert cookie not in answer.text
    assert admin.delete("/api/users/bob/sessions").status_code == 204
    assert client.get("/api/apps").status_code == 401
    assert admin.get("/api/users/bob/sessions").json()["items"] == []
    assert admin.delete("/api/users/eve/sessions").status_code == 404


def test_the_last_admin_is_told_what_to_do(admin: TestClient, runtime: WebRuntime) -> None:
    make_session(runtime, name="ada")
    error = admin.patch("/api/users/ada", json={"role": "viewer"}).json()["error"]
    assert error == {
        "code": "conflict",
        "message": "ada is the last admin; add another one first",
    }
