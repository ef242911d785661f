"""/api/apps/{app}/env: set, shown, unset; what is secret never comes back."""

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from jobs.rules.variables import LARGEST_VALUE
from tests.builders import WebRuntime, make_app, make_live

PLAIN = "hunter2hunter2"
ENV = "/api/apps/web/env"

Put = Callable[..., Response]


@pytest.fixture(autouse=True)
def web(runtime: WebRuntime) -> None:
    """The app `web`."""
    make_app(runtime)


@pytest.fixture
def put(admin: TestClient) -> Put:
    """Set a variable of `web`."""

    def send(name: str, value: object, **fields: object) -> Response:
        return admin.put(f"{ENV}/{name}", json={"value": value, **fields})

    return send


def message(answer: Response) -> str:
    text: str = answer.json()["error"]["message"]
    return text


# --- Setting and showing ---------------------------------------------------------------------


def test_a_plain_variable_is_shown(admin: TestClient, put: Put) -> None:
    answer = put("MODE", "a=b \u2713\nc")
    told = answer.json()
    assert (answer.status_code, told["name"]) == (200, "MODE")
    assert (told["secret"], told["value"]) == (False, "a=b \u2713\nc")
    assert told.pop("notes") == []
    assert admin.get(f"{ENV}/MODE").json() == told
    assert admin.get(ENV).json() == {"items": [told], "next": None}


def test_of_a_secret_only_its_presence_is_shown(admin: TestClient, put: Put) -> None:
    told = put("TOKEN", PLAIN, secret=True).json()
    assert (told["name"], told["secret"], told["value"]) == ("TOKEN", True, None)
    assert told.pop("notes") == []
    assert admin.get(f"{ENV}/TOKEN").json() == told


def test_variables_are_listed_by_name(admin: TestClient, put: Put) -> None:
    for name in ("B", "A", "_C"):
        put(name, "")
    assert [item["name"] for item in admin.get(ENV).json()["items"]] == ["A", "B", "_C"]


def test_another_value_takes_the_place_of_the_first(admin: TestClient, put: Put) -> None:
    put("MODE", "slow")
    put("MODE", "fast", secret=True)
    (only,) = admin.get(ENV).json()["items"]
    assert (only["secret"], only["value"]) == (True, None)


def test_a_variable_can_be_removed(admin: TestClient, put: Put) -> None:
    put("MODE", "fast")
    assert admin.delete(f"{ENV}/MODE").status_code == 204
    assert admin.get(f"{ENV}/MODE").status_code == 404
    assert admin.delete(f"{ENV}/MODE").status_code == 404


@pytest.mark.parametrize(
    "name", ["discovery.type", "a-b", "ConnectionStrings:Default", "my.list[0]", "1ST"]
)
def test_names_that_programs_use_can_be_set_shown_and_removed(
    admin: TestClient, put: Put, name: str
) -> None:
    assert put(quote(name), "x").json()["name"] == name
    assert admin.get(f"{ENV}/{quote(name, safe='')}").json()["value"] == "x"
    assert admin.delete(f"{ENV}/{quote(name)}").status_code == 204


# --- Kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("MODE", "production", False),
        ("SMTP_PASSWORD", "hunter2hunter2", True),
        ("DATABASE_URL", "postgres://db/shop", False),
        ("DATABASE_URL", f"postgres://me:{PLAIN}@db/shop", True),
    ],
)
def test_a_variable_whose_kind_nobody_says_is_judged_by_name_and_value(
    put: Put, name: str, value: str, *, is_secret: bool
) -> None:
    assert put(name, value).json()["secret"] is is_secret
    assert put(f"B_{name}", value, secret=None).json()["secret"] is is_secret
    assert put(name, value, secret=not is_secret).json()["secret"] is not is_secret
    assert put(name, value).json()["secret"] is not is_secret


def test_a_secret_that_logs_show_is_told(put: Put) -> None:
    told = put("ADMIN_PASSWORD", "postgres").json()
    assert told["secret"]
    (note,) = told["notes"]
    assert note.startswith("logs show the value of ADMIN_PASSWORD: it is a common word")
    assert "postgres" not in note
    assert put("MODE", "production").json()["notes"] == []


# --- Importing -------------------------------------------------------------------------------


def test_a_whole_file_is_set(admin: TestClient) -> None:
    text = f"\ufeffMODE=fast\r\nexport API_KEY='{PLAIN}' # mine\r\nPASSWORD=1234\r\n"
    answer = admin.post(ENV, json={"text": text})
    told = answer.json()
    assert [(item["name"], item["secret"], item["value"]) for item in told["items"]] == [
        ("API_KEY", True, None),
        ("MODE", False, "fast"),
        ("PASSWORD", True, None),
    ]
    assert [note.split(":")[0] for note in told["notes"]] == ["logs show the value of PASSWORD"]
    assert admin.get(ENV).json() == {"items": told["items"], "next": None}
    assert PLAIN not in answer.text


def test_the_kind_of_all_can_be_said(admin: TestClient) -> None:
    for kind in (True, False):
        answer = admin.post(ENV, json={"text": "MODE=fast\nKEY=abc", "secret": kind})
        assert [item["secret"] for item in answer.json()["items"]] == [kind, kind]


def test_a_mistake_in_some_lines_and_nothing_is_set(admin: TestClient) -> None:
    answer = admin.post(ENV, json={"text": f"A=1\nB C={PLAIN}\nPORT=1\nD"})
    assert answer.status_code == 400
    assert message(answer).splitlines() == [
        "line 2: is not NAME=value",
        "line 3: PORT: Keystone sets this one itself",
        "line 4: D has no value; write D= if it is to be empty",
    ]
    assert PLAIN not in answer.text
    assert admin.get(ENV).json()["items"] == []


# --- Secrets ---------------------------------------------------------------------------------


def test_no_answer_ever_gives_a_secret_back(admin: TestClient, put: Put) -> None:
    answers = [put("TOKEN", PLAIN, secret=True), put("TOKEN", PLAIN + "2", secret=True)]
    answers += [admin.get(path) for path in (ENV, f"{ENV}/TOKEN", "/api/apps/web", "/api/apps")]
    answers += [admin.get(path) for path in ("/api/audit", "/api/apps/web/releases")]
    answers += [admin.delete(f"{ENV}/TOKEN"), admin.get("/api/audit")]
    assert PLAIN not in "".join(answer.text for answer in answers)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("-A", {"value": PLAIN}),
        ("PORT", {"value": PLAIN}),
        ("TOKEN", {"value": f"{PLAIN}\0"}),
        ("TOKEN", {"value": PLAIN * 5000}),
        ("TOKEN", {"value": [PLAIN]}),
        ("TOKEN", {"value": PLAIN, "secret": PLAIN}),
        ("TOKEN", {"value": PLAIN, "other": PLAIN}),
        ("TOKEN", {"valeu": PLAIN}),
        ("TOKEN", [PLAIN]),
    ],
)
def test_no_refusal_quotes_the_value(
    admin: TestClient, caplog: pytest.LogCaptureFixture, name: str, body: object
) -> None:
    answer = admin.put(f"{ENV}/{name}", json=body)
    assert answer.status_code == 400
    assert message(answer)
    assert PLAIN not in answer.text + caplog.text
    assert admin.get(ENV).json()["items"] == []


def test_the_audit_trail_has_the_name_and_who_it_was(admin: TestClient, put: Put) -> None:
    put("TOKEN", PLAIN, secret=True)
    admin.delete(f"{ENV}/TOKEN")
    unset, was_set = admin.get("/api/audit").json()["items"][:2]
    set_to = {"before": {"TOKEN": None}, "after": {"TOKEN": "secret"}}
    for event, tag, details in (
        (was_set, "environment.set", set_to),
        (unset, "environment.unset", {"before": {"TOKEN": "secret"}}),
    ):
        assert (event["tag"], event["actor"], event["target"]) == (
            tag,
            "token:the-admin",
            "app:web",
        )
        assert event["details"] == details


# --- What will not do ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("-A", "x", "a variable's name has letters, digits and the signs _ . - : [ ]"),
        (".A", "x", "a variable's name has letters"),
        ("A%3DB", "x", "a variable's name has letters"),
        ("A%0A", "x", "a variable's name has letters"),
        ("%C3%84", "x", "a variable's name has letters"),
        ("X" * 201, "x", "a variable's name has letters"),
        ("PORT", "80", "PORT: Keystone sets this one itself"),
        ("KEYSTONE_RELEASE", "v9", "KEYSTONE_RELEASE: Keystone sets this one itself"),
        ("A", "x" * (LARGEST_VALUE + 1), "A: a value may have at most 65536 bytes"),
        ("A", "x\0y", "A: a value cannot hold a zero byte"),
    ],
)
def test_what_cannot_be_a_variable_is_refused_with_a_sentence(
    put: Put, name: str, value: str, sentence: str
) -> None:
    answer = put(name, value)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid")
    assert sentence in message(answer)


def test_the_largest_value_is_taken(admin: TestClient, put: Put) -> None:
    assert put("A", "x" * LARGEST_VALUE).status_code == 200
    assert len(admin.get(f"{ENV}/A").json()["value"]) == LARGEST_VALUE


def test_a_body_beyond_all_measure_is_413(admin: TestClient) -> None:
    body = json.dumps({"value": "x" * 2**20})
    headers = {"Content-Type": "application/json"}
    assert admin.put(f"{ENV}/A", content=body, headers=headers).status_code == 413


@pytest.mark.parametrize("app", ["api", "Web", "%2e%2e", "x" * 64])
def test_an_app_that_does_not_exist_is_404(admin: TestClient, app: str) -> None:
    path = f"/api/apps/{app}/env"
    answers = [
        admin.get(path),
        admin.get(f"{path}/A"),
        admin.put(f"{path}/A", json={"value": PLAIN}),
        admin.delete(f"{path}/A"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4


# --- The live release ------------------------------------------------------------------------


def test_a_change_asks_for_a_redeploy_until_there_was_one(
    admin: TestClient, put: Put, runtime: WebRuntime
) -> None:
    def needs_redeploy() -> bool:
        return bool(admin.get("/api/apps/web").json()["needs_redeploy"])

    make_live(runtime)
    assert not needs_redeploy()
    put("MODE", "fast")
    assert needs_redeploy()
    make_live(runtime)
    assert not needs_redeploy()
    admin.delete(f"{ENV}/MODE")
    assert needs_redeploy()


def test_a_refused_change_asks_for_nothing(
    admin: TestClient, put: Put, runtime: WebRuntime
) -> None:
    make_live(runtime)
    put("PORT", "80")
    admin.delete(f"{ENV}/NONE")
    assert not admin.get("/api/apps/web").json()["needs_redeploy"]
