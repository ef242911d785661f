"""Who uses the settings pages, and of which app."""

import pytest
from starlette.testclient import TestClient

from jobs.states import Role
from tests.builders import WebRuntime, make_app
from tests.receiver.settings_forms import Browser, browser_of


@pytest.fixture
def ada(client: TestClient, runtime: WebRuntime) -> Browser:
    """An admin."""
    return browser_of(client, runtime, Role.ADMIN)


@pytest.fixture
def web(runtime: WebRuntime) -> None:
    """An app."""
    make_app(runtime)
