"""Which fields are wrong: the API's errors name them beside the message."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from jobs.errors import Mistake
from receiver.access import SAFE_METHODS, Door
from receiver.endpoints import ENDPOINTS
from receiver.errors import error_body
from receiver.routing import Endpoint, Nothing
from tests.builders import WebRuntime, make_app, make_user
from tests.receiver.settings_forms import SETTINGS, Browser, problem

PLACES = {
    "app": "web",
    "id": "1",
    "name": "nobody",
    "variable": "PORT",
    "domain": "web.example.com",
}
UNKNOWN = "surprise: with ä colon"
TAKERS = [each for each in ENDPOINTS if each.takes is not Nothing and each.needs is not Door.ANYONE]
JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=3),
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5)), max_size=3),
)
QUIET = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def fields(error: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the fields of an error's answer."""
    found: list[dict[str, Any]] = error["error"].get("fields", [])
    return found


def send(client: TestClient, endpoint: Endpoint, data: Mapping[str, object]) -> Any:  # noqa: ANN401
    path = endpoint.path.format_map(PLACES)
    if endpoint.method in SAFE_METHODS:
        texts = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in data.items()
        }
        return client.request(endpoint.method, path, params=texts)
    return client.request(endpoint.method, path, json=data)


@pytest.mark.parametrize("endpoint", TAKERS, ids=lambda each: f"{each.method} {each.path}")
def test_every_field_that_is_named_was_sent_or_is_known(
    admin: TestClient, runtime: WebRuntime, endpoint: Endpoint
) -> None:
    make_app(runtime)
    known = set(endpoint.takes.model_fields)
    places = set(re.findall(r"\{(\w+)\}", endpoint.path))
    keys = st.sampled_from(sorted(known | {UNKNOWN}))

    @QUIET
    @given(st.dictionaries(keys, JUNK, min_size=1, max_size=6))
    def check(data: dict[str, object]) -> None:
        answer = send(admin, endpoint, data)
        if answer.status_code < 400 or answer.headers["content-type"] != "application/json":
            return
        error = answer.json()
        for each in fields(error):
            assert set(each) == {"field", "index", "message"}
            assert each["field"] in known | places | data.keys()
            assert each["message"] in error["error"]["message"]
        if UNKNOWN in data and error["error"]["code"] == "invalid":
            assert {
                "field": UNKNOWN,
                "index": None,
                "message": "there is no such field",
            } in fields(error)

    check()


@pytest.mark.parametrize("endpoint", TAKERS, ids=lambda each: f"{each.method} {each.path}")
def test_every_field_of_another_type_is_named(
    admin: TestClient, runtime: WebRuntime, endpoint: Endpoint
) -> None:
    make_app(runtime)
    wrong: object = "\0" if endpoint.method in SAFE_METHODS else [{}]
    data = dict.fromkeys(endpoint.takes.model_fields, wrong)
    answer = send(admin, endpoint, data)
    assert answer.status_code == 400, answer.text
    assert {each["field"] for each in fields(answer.json())} == set(endpoint.takes.model_fields)


def test_which_entry_is_wrong_is_told(admin: TestClient, runtime: WebRuntime) -> None:
    make_app(runtime)
    lists = {"volumes": ["a:/a", "b:/b", "c"], "labels": {"fine": "", "a: b": ""}}
    error = admin.patch("/api/apps/web", json=lists).json()
    assert [(each["field"], each["index"]) for each in fields(error)] == [
        ("volumes", 2),
        ("labels", "a: b"),
    ]
    assert error["error"]["message"].splitlines() == [
        f"volumes.2: {fields(error)[0]['message']}",
        f"labels.a: b.[key]: {fields(error)[1]['message']}",
    ]


def test_what_the_state_of_things_forbids_is_of_a_field_too(
    admin: TestClient, runtime: WebRuntime
) -> None:
    make_app(runtime)
    port = admin.get("/api/apps/web").json()["host_port"]
    wanted = {"name": "api", "repository": "octo/api", "host_port": port}
    answer = admin.post("/api/apps", json=wanted)
    assert answer.status_code == 409
    told = f"{port} belongs to another app already"
    assert answer.json() == {
        "error": {
            "code": "conflict",
            "message": f"host_port: {told}",
            "fields": [{"field": "host_port", "index": None, "message": told}],
        }
    }


def test_a_variable_is_wrong_by_its_name_or_by_its_value(
    admin: TestClient, runtime: WebRuntime
) -> None:
    make_app(runtime)
    error = admin.put("/api/apps/web/env/PORT", json={"value": "1"}).json()
    assert error["error"]["message"] == "PORT: Keystone sets this one itself"
    assert [each["field"] for each in fields(error)] == ["variable"]
    error = admin.put("/api/apps/web/env/TEXT", json={"value": "a\0b"}).json()
    assert error["error"]["message"] == "TEXT: a value cannot hold a zero byte"
    assert [each["field"] for each in fields(error)] == ["value"]


def test_a_user_may_be_refused_for_the_password(admin: TestClient, runtime: WebRuntime) -> None:
    make_user(runtime)
    wanted = {"name": "bob", "role": "viewer", "password": "short"}
    error = admin.post("/api/users", json=wanted).json()
    assert [each["field"] for each in fields(error)] == ["password"]


def test_without_a_field_there_are_no_fields(admin: TestClient) -> None:
    for answer in (admin.post("/api/apps", json=[1]), admin.get("/api/apps/nobody")):
        assert set(answer.json()["error"]) == {"code", "message"}


def test_what_is_quoted_of_strangers_is_made_plain() -> None:
    mistake = Mistake("a\x1b[31m", "b\x1b[31m", "c\x1b[31m")
    assert "\\u001b" not in json.dumps(error_body("invalid", "x", [mistake]))


# --- Forms -----------------------------------------------------------------------------------


def test_the_third_line_of_a_list_says_that_it_is_the_third(ada: Browser, web: None) -> None:
    html = ada.refused(SETTINGS, "save", volumes="a:/a\r\n\r\nb:/b\r\nc")
    assert problem(html, "volumes").startswith("Entry 3: must ")


def test_a_key_with_a_colon_is_told_beside_its_field(ada: Browser, web: None) -> None:
    html = ada.refused(SETTINGS, "save", labels="a: b=c")
    assert problem(html, "labels") == "A: b: is not a name for a label."


def test_a_variable_of_keystones_own_is_told_beside_its_name(ada: Browser, web: None) -> None:
    html = ada.refused(f"{SETTINGS}/variables", "set-variable", variable="PORT", value="1")
    assert problem(html, "variable") == "Keystone sets this one itself."
