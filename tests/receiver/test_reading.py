"""No page and no GET of the API writes: neither to the database nor to the data directory."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from jobs.states import Role
from jobs.storage.database import Database
from receiver.endpoints import ENDPOINTS
from receiver.routing import Endpoint
from tests.builders import WebRuntime, make_app, make_deployment, make_live, write_log
from tests.receiver.asking import Asked, ask
from tests.receiver.situations import person
from tests.receiver.test_matrix import PAGES, PLACE

PLACES = {"id": "1", "app": "web", "name": "web"}
READING = [endpoint for endpoint in ENDPOINTS if endpoint.method == "GET"]


@pytest.fixture
def rows(runtime: WebRuntime) -> None:
    """An app that is live, and a deployment with a log."""
    make_app(runtime)
    make_live(runtime)
    queued = make_deployment(runtime)
    write_log(runtime, 1, ["compiling"])
    write_log(runtime, queued.id or 0, ["compiling"])


def files_in(folder: Path) -> dict[Path, bytes]:
    """Give what lies in a folder, but for SQLite's own files."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("keystone.db")
    }


def address(path: str) -> str:
    return PLACE.sub(lambda found: PLACES.get(found[1], "ok"), path)


@pytest.mark.usefixtures("rows")
def test_nothing_is_written(
    client: TestClient, runtime: WebRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = person(Role.ADMIN)(runtime)
    ask(client, Asked("GET", "/", headers))  # from now on, nobody has to remember the visit
    before = files_in(runtime.settings.data_dir)
    written = []

    def refuse(_database: Database, **_: object) -> AbstractContextManager[None]:
        written.append(asked.path)
        raise AssertionError(asked.path)

    monkeypatch.setattr(Database, "writing", refuse)
    found = {}
    for path in [*map(_path, READING), *PAGES]:
        asked = Asked("GET", address(path), headers, peer="127.0.0.1")
        found[path] = ask(client, asked).status
        assert files_in(runtime.settings.data_dir) == before, path
    assert written == []
    assert {path for path, status in found.items() if status == 200} >= {
        "/api/apps/{app}",
        "/api/deployments/{id}/logs",
        "/apps/{app}/settings/repository",
        "/deployments/{id:int}",
        "/metrics",
    }
    assert 500 not in found.values()


def _path(endpoint: Endpoint) -> str:
    return endpoint.path
