"""Every form of the settings pages, filled in by somebody who means no good: never a 500.

The API's own document does not describe these forms, so the fuzzer that reads it passes them by.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from receiver.settings_pages import SETTINGS_PAGES
from tests.builders import WebRuntime, cookie_name, make_app, make_session

FORMS = [
    (endpoint.path.replace("{app}", "web"), do, sheet)
    for endpoint in SETTINGS_PAGES
    for do, sheet in endpoint.handler.args[1].items()  # type: ignore[attr-defined]
    if sheet.fields or sheet.places  # a lone button has nothing to be filled in
]
SOME = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ODD = st.sampled_from(
    [
        *("", " ", "0", "-1", "1e999", "9" * 40, "nan", "on", "null", "[]", "{}", "a=b\r\nc=d"),
        *("web", "WEB", "../../etc/passwd", "$(id)", "--upload-pack=id", "'; DROP TABLE apps; --"),
        *("<script>alert(1)</script>", "\u202egpj.exe", "\x00", "😀" * 50, "x" * 5000),
        *("https://[x", "http://169.254.169.254/", "*.example.com", "a..b", "-----BEGIN KEY-----"),
    ]
)
VALUES = ODD | st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.mark.parametrize(("path", "do", "sheet"), FORMS, ids=[f"{p} {do}" for p, do, _ in FORMS])
@SOME
@given(st.data())
def test_any_filled_in_form_of_an_admin_gets_an_answer(
    client: TestClient, runtime: WebRuntime, path: str, do: str, sheet: object, data: st.DataObject
) -> None:
    csrf_token = _ready(client, runtime)
    fields = data.draw(st.dictionaries(st.sampled_from(_names(sheet)), VALUES))
    sent = {**fields, "csrf_token": csrf_token, "do": do}
    headers = {"accept": "text/html", "referer": f"http://testserver{path}"}
    answer = client.post(path, data=sent, headers=headers)
    assert 200 <= answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    assert "<script>alert(1)" not in answer.text


def _names(sheet: object) -> list[str]:
    """Give the fields a form knows, and one that none does."""
    takes = getattr(sheet, "takes", None)
    known = {
        *(field.name for field in getattr(sheet, "fields", ())),
        *getattr(sheet, "places", ()),
        *getattr(takes, "model_fields", {}),
    }
    return [*sorted(known), "unknown"]


def _ready(client: TestClient, runtime: WebRuntime) -> str:
    """Have an app, and an admin who is logged in, whatever the example before has removed."""
    if (
        client.cookies.get(cookie_name(runtime)) is None
        or client.get("/account").status_code != 200
    ):
        client.cookies.clear()
        opened = make_session(runtime)
        client.cookies.set(cookie_name(runtime), opened.cookie.get_secret_value())
        client.headers["x-csrf"] = opened.csrf_token
    if client.get("/apps/web").status_code != 200:
        make_app(runtime)
    return client.headers["x-csrf"]
