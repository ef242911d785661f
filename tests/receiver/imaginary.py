"""Where pages and the API know an imaginary setting; run by `tests/test_one_declaration.py`."""

from starlette.testclient import TestClient

from receiver.endpoints import ENDPOINTS
from receiver.openapi import describe
from tests.builders import WebRuntime
from tests.receiver.settings_forms import SETTINGS, Browser, shown, view


def test_the_api_describes_it() -> None:
    shapes = describe(ENDPOINTS, version="1")["components"]["schemas"]
    for name in ("AppInput", "AppPatch", "AppView"):
        told = shapes[name]["properties"]["imaginary_mb"]
        assert told["description"] == "How much it may imagine", name
    bounds = shapes["AppInput"]["properties"]["imaginary_mb"]
    assert (bounds["default"], bounds["minimum"], bounds["maximum"]) == (7, 1, 9)


def test_the_forms_and_the_apps_page_show_it(
    ada: Browser, client: TestClient, web: None, runtime: WebRuntime
) -> None:
    form = shown(ada.page(SETTINGS))
    assert form["imaginary_mb"] == "7"
    assert "Imaginary (MB)" in ada.page(SETTINGS)
    assert "Imaginary (MB)" in ada.page("/apps/new")
    assert "Imaginary" not in ada.page("/apps/web")
    ada.done(SETTINGS, "save", **form | {"imaginary_mb": "9"})
    assert view(runtime).model_dump()["imaginary_mb"] == 9
    assert "9 MB" in ada.page("/apps/web")
