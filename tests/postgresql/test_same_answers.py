"""Every page and list answers from PostgreSQL what it answers from SQLite with the same rows."""

import re
import shutil
from collections.abc import Callable, Iterator
from difflib import unified_diff
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import text
from sqlmodel import SQLModel
from starlette.testclient import TestClient

from jobs.processes.runtime import Runtime, open_runtime
from jobs.records.logins import open_session
from jobs.settings import WebSettings
from jobs.states import Role
from jobs.storage.database import Database
from jobs.storage.models import User
from receiver.app import create_app
from tests.builders import cookie_name
from tests.conftest import SECRET_KEY
from tests.dashboard.scene import Scene, set_scene
from tests.jobs.bench import TESTER
from tests.postgresql.server import Server

# What is different whenever it is asked: how long something has taken up to now, and its drawing.
ELAPSED = re.compile(r'\d+(\.\d+)? (s|min)\b|(?<="duration_s":)[\d.]+| (d|x|width)="[^"]+"')
LARGE = 2**31  # one more than PostgreSQL's integer can hold
BEYOND = 10**30

T = TypeVar("T")

PAGES = (
    "/",
    "/?state=attention",
    "/?q=o&after=docs",
    "/apps/web",
    "/apps/web?text=UPGRADE",
    "/apps/web?text=%25&state=failure",
    "/apps/shop?author=m%C3%BCller&trigger=push",
    "/apps/shop?author=HOPPER&state=success",
    "/apps/shop?before=20",
    "/apps/importer",
    "/apps/web/settings",
    "/apps/web/settings/variables",
    "/apps/web/settings/domains",
    "/apps/web/settings/repository",
    "/deployments/{running}",
    "/deployments/{failed}",
    "/deployments/{rolled_back}",
    "/deployments/{superseded}",
    "/deployments/{running}/lines?first=1",
    "/deliveries",
    "/deliveries?text=SKIP+CI&outcome=ignored",
    "/deliveries?repository=Octo/Web&event=push&before=5",
    "/audit",
    "/audit?tag=login&actor=user:grace",
    "/audit?target=app:web&since=2026-01-01&until=2099-01-01",
    "/users",
    "/tokens",
    "/account",
)
LISTS = (
    "/api/apps",
    "/api/apps/web",
    "/api/apps/web/env",
    "/api/apps/shop/releases",
    "/api/deployments?limit=30",
    "/api/deployments?app=shop&state=failure&trigger=manual",
    "/api/deployments?text=_&author=A",
    "/api/deployments/{succeeded}",
    "/api/certificates",
    "/api/repositories",
    "/api/deliveries?limit=3",
    "/api/deliveries?limit=3&before=4",
    "/api/audit?tag=deployment",
    "/api/users",
    "/api/users/ada/sessions",
    "/api/tokens",
)
ODD = (
    f"/deployments/{LARGE}",
    f"/api/deployments/{LARGE}",
    f"/api/deployments/{BEYOND}",
    f"/api/deployments?before={LARGE}",
    f"/deliveries?before={BEYOND}",
    f"/audit?before={LARGE}",
    f"/apps/web?before={LARGE}",
    "/apps/no%00such",
    "/apps/web?author=%00",
    "/apps/web?text=a%00b",
    "/deliveries?text=%00",
    "/audit?actor=%00",
    "/audit?tag=%00",
    "/api/deployments?app=%00",
    "/api/audit?target=%00",
    "/api/apps/a%00b/env",
    "/api/users/%00/sessions",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory, with the logs in it."""
    return tmp_path_factory.mktemp("answers")


@pytest.fixture(scope="module")
def on_sqlite(folder: Path, empty_database: Path) -> Iterator[Runtime[WebSettings]]:
    """A Keystone with six apps in different states, and somebody who is logged in."""
    shutil.copy(empty_database, folder / "keystone.db")
    runtime = open_runtime(WebSettings(data_dir=folder, secret_key=SECRET_KEY))
    yield runtime
    runtime.database.close()


@pytest.fixture(scope="module")
def scene(on_sqlite: Runtime[WebSettings]) -> Scene:
    """The ids worth a visit."""
    with on_sqlite.database.writing() as session:
        return set_scene(session, on_sqlite.settings.logs_dir)


@pytest.fixture(scope="module")
def cookie(on_sqlite: Runtime[WebSettings]) -> SecretStr:
    """Of an admin's browser."""
    with on_sqlite.database.writing() as session:
        user = User(name="ada", role=Role.ADMIN, password_hash="none")
        session.add(user)
        session.flush()
        return open_session(session, user, TESTER).cookie


@pytest.fixture(scope="module")
def on_postgresql(
    on_sqlite: Runtime[WebSettings],
    scene: Scene,
    cookie: SecretStr,
    server: Server,
    migrated: str,
) -> Iterator[Runtime[WebSettings]]:
    """The same Keystone with the same rows on PostgreSQL."""
    assert scene
    assert cookie
    url = server.create("answers", like=migrated)
    settings = on_sqlite.settings.model_copy(update={"database_url": url})
    copy_rows(on_sqlite.database, Database(url))
    runtime = open_runtime(settings)
    yield runtime
    runtime.database.close()
    server.drop("answers")


def copy_rows(source: Database, target: Database) -> None:
    """Copy every row from one database with the newest schema to another."""
    with source.reader_engine.connect() as read, target.writer_engine.begin() as write:
        write.execute(text("TRUNCATE identity, schema_use, vault_keys"))
        for table in SQLModel.metadata.sorted_tables:
            if rows := [dict(row) for row in read.execute(table.select()).mappings()]:
                write.execute(table.insert(), rows)
    target.close()


@pytest.fixture(scope="module")
def clients(
    on_sqlite: Runtime[WebSettings], on_postgresql: Runtime[WebSettings], cookie: SecretStr
) -> Iterator[list[TestClient]]:
    """The admin's browser, at the one and at the other."""
    found = [
        TestClient(
            create_app(runtime),
            cookies={cookie_name(runtime): cookie.get_secret_value()},
            follow_redirects=False,
            raise_server_exceptions=False,
        )
        for runtime in (on_sqlite, on_postgresql)
    ]
    yield found
    for client in found:
        client.close()


def lines(client: TestClient, address: str) -> list[str]:
    """Ask for an address and give what was answered, without what is different every time."""
    answer = client.get(address)
    assert answer.status_code < 500, (address, answer.text)
    told = (
        ELAPSED.sub("…", answer.text)
        .replace("just now", "… ago")
        .replace(">", ">\n")
        .replace(",", ",\n")
    )
    return [str(answer.status_code), *told.splitlines()]


def at_one_time(clients: list[TestClient], ask: Callable[[TestClient], T]) -> tuple[T, T]:
    """Ask both, and again if that was different before from after: by then all was older."""
    one, other = clients
    while True:
        before, found = ask(one), ask(other)
        if found == before or ask(one) == before:
            return before, found


@pytest.mark.parametrize("addresses", [PAGES, LISTS, ODD], ids=["pages", "lists", "odd"])
def test_both_answer_the_same(
    clients: list[TestClient], scene: Scene, addresses: tuple[str, ...]
) -> None:
    for pattern in addresses:
        address = pattern.format(**vars(scene))
        one, other = at_one_time(clients, partial(lines, address=address))
        differences = unified_diff(one, other, "SQLite", "PostgreSQL", address, lineterm="")
        assert one == other, "\n".join(differences)


def test_both_measure_the_same(clients: list[TestClient]) -> None:
    one, other = clients
    before, found, after = measures(one), measures(other), measures(one)
    assert before.keys() == found.keys() == after.keys()
    assert len(found) > 20
    for what, value in found.items():
        # What is older at every look lies between the two.
        between = sorted((before[what], value, after[what]))[1]
        assert value == pytest.approx(between, rel=0.01, abs=0.1), what


def measures(client: TestClient) -> dict[str, float]:
    """Give what is measured, by name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        f"{sample.name} {sample.labels}": sample.value
        for family in families
        for sample in family.samples
    }
