"""/api/repositories: where apps come from, and their tokens."""

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from jobs.secrets_store import repository_token
from tests.builders import WebRuntime, make_app


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


def test_a_repository_that_is_not_there_is_404(admin: TestClient) -> None:
    assert admin.put("/api/repositories/9/token", json={"token": "x"}).status_code == 404
