"""Every schema that was released leads to the present one, with the rows that are in it."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import col, select

from jobs.errors import StorageError
from jobs.processes.runtime import Runtime, open_runtime, open_to_change, open_to_read
from jobs.reads.apps import app_view, find_app
from jobs.reads.audit import AuditFilter, audit_page
from jobs.reads.deliveries import DeliveryFilter, delivery_page
from jobs.reads.deployments import DeploymentFilter, deployment_page
from jobs.reads.releases import releases_that_were_live
from jobs.reads.repositories import repository_views
from jobs.reads.secrets import repository_token
from jobs.reads.variables import open_variables
from jobs.records.once import asked_before, key_of
from jobs.records.requests import Request, request
from jobs.rules.actors import Actor
from jobs.rules.app_fields import PARTS
from jobs.rules.missed_pushes import in_words
from jobs.settings import Settings
from jobs.states import ActorKind, Trigger
from jobs.storage.database import Database
from jobs.storage.migrations import apply
from jobs.storage.migrations.apply import (
    BASE,
    HEAD,
    migrate_back_to,
    migrate_to,
    schema_version,
)
from jobs.storage.models import Deployment, Identity, Repository, User
from tests.haproxy import free_ports
from tests.jobs.released_rows import (
    AT,
    CHANGED,
    CHANGED_BY,
    KEY,
    LIVE_CONTAINER,
    SHA,
    TOKEN,
    Row,
    fill,
)

# One line for each schema that was in a release: what people may have.
RELEASED = ("0001", "0002", "0006")


def database_at(folder: Path, revision: str) -> tuple[Database, dict[str, Row]]:
    """Make a database as a Keystone of that schema would have it, with rows in every table."""
    database = Database(f"sqlite:///{folder}/keystone.db")
    migrate_to(database, revision)
    with database.writer_engine.begin() as connection:
        put = fill(connection)
    return database, put


@pytest.fixture(params=RELEASED)
def revision(request: pytest.FixtureRequest) -> str:
    """Give each schema that was released."""
    found: str = request.param
    return found


@pytest.fixture
def put(tmp_path: Path, revision: str) -> dict[str, Row]:
    """Make a database of that schema, and give the rows in it."""
    database, put = database_at(tmp_path, revision)
    database.close()
    return put


@pytest.fixture
def upgraded(tmp_path: Path, put: dict[str, Row]) -> Iterator[Runtime[Settings]]:
    """Open that database with the Keystone of today."""
    assert put
    runtime = open_runtime(Settings(data_dir=tmp_path, secret_key=KEY))
    yield runtime
    runtime.database.close()


def test_every_row_is_still_there(
    upgraded: Runtime[Settings], put: dict[str, Row], revision: str
) -> None:
    assert schema_version(upgraded.database) == HEAD
    tables = MetaData()
    with upgraded.database.reader_engine.connect() as connection:
        tables.reflect(connection, resolve_fks=False)
        found = {
            name: dict(connection.execute(tables.tables[name].select()).mappings().one())
            for name in put
        }
    # What were columns of an app is in three of them by now.
    found["apps"] = found["apps"] | {k: v for part in PARTS for k, v in found["apps"][part].items()}
    # Who acts was one column, and is two by now.
    for row in (found["deployments"], found["audit_events"]):
        row["actor"] = f"{row['actor_kind']}:{row['actor_name']}"
    for name, row in put.items():
        expected = row | CHANGED.get(name, {}) if revision < CHANGED_BY else row
        assert {column: _aware(found[name][column]) for column in row} == expected, name


def _aware(value: object) -> object:
    """Give a value as it was put: SQLite keeps the moment and not the zone, which is always UTC."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def test_known_data_is_shown_after_an_upgrade(upgraded: Runtime[Settings]) -> None:
    with upgraded.database.reading() as session:
        app = app_view(session, "web", upgraded.settings)
        (deployment,) = deployment_page(session, DeploymentFilter()).items
        (delivery,) = delivery_page(session, DeliveryFilter()).items
        (repository,) = repository_views(session)
        (event,) = audit_page(session, AuditFilter()).items
    assert (app.live_commit_sha, app.live_release, app.domains) == (SHA, 9, ["www.example.com"])
    assert (deployment.number, deployment.release) == (12, 9)
    assert [step.name for step in deployment.steps] == ["retire"]
    assert [status.state for status in deployment.statuses] == ["success"]
    assert delivery.guid == "5c0f8b1e"
    assert repository.full_name == "Octo/Web"
    assert (event.tag, event.actor, deployment.actor) == (
        "app.created",
        "user:ada",
        "webhook:octocat",
    )
    assert upgraded.identity == "abcdef"


def test_secrets_are_opened_and_people_are_known(upgraded: Runtime[Settings]) -> None:
    with upgraded.database.reading() as session:
        app = find_app(session, "web")
        token = repository_token(session, app.repository_id, upgraded.vault)
        variables = open_variables(session, app, upgraded.vault)
        (user,) = session.exec(select(User)).all()
    assert token == TOKEN
    assert variables["API_KEY"].value == SecretStr("an api key")
    assert (user.name, user.role) == ("ada", "admin")


@pytest.mark.parametrize("revision", RELEASED[:2])  # the next one has them on record
def test_existing_engine_objects_are_marked_for_recording(upgraded: Runtime[Settings]) -> None:
    with upgraded.database.reading() as session:
        identity = session.get_one(Identity, 1)
    assert identity.adopts_items
    assert re.fullmatch(r"[0-9a-f]{64}", identity.image_key)


def test_work_goes_on(upgraded: Runtime[Settings]) -> None:
    with upgraded.database.writing() as session:
        app = find_app(session, "web")
        wanted = Request(Trigger.MANUAL, SHA, commit_sha=SHA)
        made = request(session, app, wanted, Actor(ActorKind.USER, "ada"))
        (release,) = releases_that_were_live(session, app, limit=5)
    assert (made.number, made.kind, app.live_container_id) == (13, "update", LIVE_CONTAINER)
    assert made.id is not None
    assert made.id > 31
    assert release.number == 9


# --- What deliveries have claimed ------------------------------------------------------------


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    """A database without any schema."""
    with closing(Database(f"sqlite:///{tmp_path}/keystone.db")) as database:
        yield database


def test_what_deliveries_have_claimed_is_taken_back(empty: Database) -> None:
    """Before 0005 a signed body gave a repository its id, and another name."""
    names = ["octo/kept", "corp/secret", "octo/site", "Octo/Case", "octo/new"]
    added = {2: "octo/a", 3: "octo/new", 4: "octo/case"}
    migrate_to(empty, "0004")
    with empty.writer_engine.begin() as connection:
        for number, name in enumerate(names, start=1):
            _put_repository(connection, number, name)
        # The second was renamed twice, and the first name is the one an operator gave.
        for number, before, after in [(2, "octo/a", "octo/b"), (2, "octo/b", "corp/secret")]:
            _put_rename(connection, number, before, after)
        for number in (3, 4):
            _put_rename(connection, number, added[number], names[number - 1])
    migrate_to(empty, HEAD)
    with empty.reading() as session:
        rows = session.exec(select(Repository).order_by(col(Repository.id))).all()
    assert {row.github_id for row in rows} == {None}
    assert [row.full_name for row in rows] == [
        "octo/kept",
        "octo/a",
        "octo/site",  # another repository has the name that it was added with
        "Octo/Case",
        "octo/new",
    ]
    assert [row.name_key for row in rows] == [row.full_name.lower() for row in rows]
    assert [row.id for row in rows if row.is_name_claimed] == [3]
    assert [row.id for row in rows if row.identity_problem] == [3]


def _put_repository(connection: Connection, number: int, name: str) -> None:
    connection.execute(
        text(
            "INSERT INTO repositories (id, github_id, full_name, name_key, git_url, created_at) "
            "VALUES (:id, :github_id, :name, :key, 'https://github.com/x/y.git', :at)"
        ),
        {
            "id": number,
            "github_id": 100 + number,
            "name": name,
            "key": name.lower(),
            "at": AT.isoformat(),
        },
    )


def _put_rename(connection: Connection, number: int, before: str, after: str) -> None:
    connection.execute(
        text(
            "INSERT INTO audit_events (at, tag, actor, target, address, details) "
            "VALUES (:at, 'repository.renamed', 'webhook:octocat', :target, '', :details)"
        ),
        {
            "at": AT.isoformat(),
            "target": f"repository:{number}",
            "details": json.dumps({"before": before, "after": after}),
        },
    )


# --- Who did something, and what repeated requests are known by ------------------------------

WRITTEN = ("user:ada", "keystone:restored from a backup of 2026-11-20 08:30", "token:a:b", "odd")


def test_actors_are_unchanged_and_still_protected(empty: Database, tmp_path: Path) -> None:
    migrate_to(empty, "0006")
    with empty.writer_engine.begin() as connection:
        for actor in WRITTEN:
            _put_event(connection, actor)
    migrate_to(empty, HEAD)
    for actor in WRITTEN[:-1]:
        with empty.reading() as session:
            (event,) = audit_page(session, AuditFilter(actor=actor)).items
        assert event.actor == actor
    with empty.reading() as session:
        newest, *_ = audit_page(session, AuditFilter()).items
    assert newest.actor == "stranger:odd"
    for statement in ("UPDATE audit_events SET actor_name = 'eve'", "DELETE FROM audit_events"):
        with pytest.raises(DBAPIError, match="never"), empty.writer_engine.begin() as connection:
            connection.execute(text(statement))


def _put_event(connection: Connection, actor: str) -> None:
    connection.execute(
        text(
            "INSERT INTO audit_events (at, tag, actor, target, address, details) "
            "VALUES (:at, 'app.changed', :actor, 'app:web', '', '{}')"
        ),
        {"at": AT.isoformat(), "actor": actor},
    )


def test_a_request_is_known_again_and_githubs_ids_stay_where_they_are(
    upgraded_between_two_clicks: Database,
) -> None:
    key = key_of("main", 11)
    with upgraded_between_two_clicks.reading() as session:
        app = find_app(session, "web")
        asked = asked_before(session, app, key)
        assert asked is not None
        assert (asked.guid, asked.request_key) == (None, key)
        pushed = session.exec(select(Deployment).where(Deployment.guid == "5c0f8b1e")).one()
    assert pushed.request_key is None


@pytest.fixture
def upgraded_between_two_clicks(empty: Database) -> Database:
    """A database that was upgraded after a click on Deploy, and before the second one."""
    migrate_to(empty, "0006")
    with empty.writer_engine.begin() as connection:
        put = fill(connection)["deployments"]
        click = {"id": 32, "number": 13, "guid": key_of("main", 11), "body_sha256": None}
        tables = MetaData()
        tables.reflect(connection, only=["deployments"], resolve_fks=False)
        connection.execute(
            tables.tables["deployments"].insert().values({**put, **click, "state": "queued"})
        )
    migrate_to(empty, HEAD)
    return empty


@pytest.mark.parametrize(
    "in_the_way",
    [
        "CREATE TABLE _alembic_tmp_repositories (id integer)",
        "UPDATE repository_secrets SET repository_id = 4711",
    ],
    ids=["a table", "a row that refers to nothing"],
)
def test_a_migration_that_breaks_off_changes_nothing_and_leaves_foreign_keys_in_force(
    tmp_path: Path, in_the_way: str
) -> None:
    database, put = database_at(tmp_path, RELEASED[0])
    with closing(sqlite3.connect(tmp_path / "keystone.db")) as raw:  # it enforces no foreign keys
        raw.execute(in_the_way)
        raw.commit()
    with closing(database):
        with pytest.raises((StorageError, OperationalError)):
            migrate_to(database, HEAD)
        assert schema_version(database) == RELEASED[0]
        with database.writer_engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            count = connection.execute(text("SELECT count(*) FROM repository_secrets")).scalar()
    assert count == len([put["repository_secrets"]])


@pytest.mark.parametrize("revision", RELEASED[:2])  # the next one tells them apart
def test_statuses_that_nobody_chose_depend_on_the_path_from_now_on(
    tmp_path: Path, revision: str
) -> None:
    database, _ = database_at(tmp_path, revision)
    with database.writer_engine.begin() as connection:
        connection.execute(text("UPDATE apps SET health_status = '200-399', health_path = NULL"))
        kept = json.dumps({"container_port": 9000, "health_status": "200"})
        connection.execute(text("UPDATE releases SET container = :kept"), {"kept": kept})
    database.close()
    with closing(open_runtime(Settings(data_dir=tmp_path, secret_key=KEY)).database) as upgraded:
        with upgraded.reading() as session:
            app = find_app(session, "web")
            (release,) = releases_that_were_live(session, app, limit=5)
        settings = app.container
        assert (settings.health, settings.health_status, app.trial_ends_at) == ("http", None, None)
        assert (settings.asked_path, settings.healthy_statuses) == ("/", range(200, 500))
        # Its release was only connected to; it has to answer when it is started again.
        of_then = release.container
        assert (of_then.asked_path, of_then.healthy_statuses) == ("/", range(200, 500))


@pytest.mark.parametrize(
    ("words", "missed", "found"),
    [
        ("", None, ""),
        ("nothing was missed", 0, ""),
        ("2 apps are compared from now on", 0, "2 apps are compared from now on"),
        ("1 push was missed: #2 of web is queued", 1, "#2 of web is queued"),
        ("12 pushes were missed: #2 of web is queued, x: y", 12, "#2 of web is queued, x: y"),
    ],
)
def test_how_many_pushes_were_missed_becomes_a_number(
    tmp_path: Path, words: str, missed: int | None, found: str
) -> None:
    database, _ = database_at(tmp_path, "0006")
    with database.writer_engine.begin() as connection:
        connection.execute(text("UPDATE catch_ups SET found = :words"), {"words": words})
    migrate_to(database, HEAD)
    with closing(database), database.reader_engine.connect() as connection:
        row = connection.execute(text("SELECT missed, found FROM catch_ups")).one()
    assert row == (missed, found)
    assert in_words(missed, found) == words


# --- The way back ----------------------------------------------------------------------------


def test_the_database_is_kept_as_it_was_before(
    upgraded: Runtime[Settings], tmp_path: Path, revision: str, put: dict[str, Row]
) -> None:
    assert upgraded.identity
    kept = tmp_path / f"keystone.db.schema-{revision}"
    assert kept.stat().st_mode & 0o077 == 0
    with closing(Database(f"sqlite:///{kept}")) as before:
        assert schema_version(before) == revision
        with before.reader_engine.connect() as connection:
            count = connection.execute(text("SELECT count(*) FROM deployments")).scalar_one()
    assert count == len([put["deployments"]])


def test_only_the_newest_of_such_copies_is_kept(tmp_path: Path) -> None:
    (tmp_path / "keystone.db.schema-0000").write_text("of an earlier upgrade")
    database, _ = database_at(tmp_path, RELEASED[0])
    migrate_to(database, HEAD)
    database.close()
    kept = [path.name for path in tmp_path.glob("*.schema-*")]
    assert kept == [f"keystone.db.schema-{RELEASED[0]}"]


def test_a_database_that_cannot_be_copied_is_not_changed(tmp_path: Path) -> None:
    database, _ = database_at(tmp_path, RELEASED[0])
    # A folder of that name is in the copy's way.
    (tmp_path / f"keystone.db.schema-{RELEASED[0]}").mkdir()
    with pytest.raises(StorageError, match="cannot be kept"):
        migrate_to(database, HEAD)
    assert schema_version(database) == RELEASED[0]
    database.close()


def test_a_new_database_needs_no_copy(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/keystone.db")
    migrate_to(database, HEAD)
    database.close()
    assert not list(tmp_path.glob("*.schema-*"))


# --- There and back --------------------------------------------------------------------------


def reversible() -> list[str]:
    """Give each schema whose migration can be undone, the oldest first."""
    config = Config()
    config.set_main_option("script_location", str(apply.FOLDER))
    found = (script.revision for script in ScriptDirectory.from_config(config).walk_revisions())
    return sorted(revision for revision in found if revision > BASE)


def schema_in_words(database: Database) -> object:
    """Describe all tables, their columns, indexes, references and triggers."""
    with database.reader_engine.connect() as connection:
        if database.is_sqlite:
            query = "SELECT name, sql FROM sqlite_schema WHERE sql <> '' ORDER BY name"
            # Rebuilding a table changes quotes and spaces.
            return [
                (name, re.sub(r'[\s"]+', "", sql))
                for name, sql in connection.execute(text(query)).all()
            ]
        inspector = inspect(connection)
        return {
            name: (
                [{**each, "type": str(each["type"])} for each in inspector.get_columns(name)],
                inspector.get_indexes(name),
                inspector.get_foreign_keys(name),
                inspector.get_check_constraints(name),
                inspector.get_unique_constraints(name),
            )
            for name in sorted(inspector.get_table_names())
        }


@pytest.mark.parametrize("revision", reversible())
def test_each_migration_can_be_undone_and_done_again(empty: Database, revision: str) -> None:
    _, scripts = apply._history()
    script = scripts.get_revision(revision)
    assert script is not None
    assert isinstance(script.module.compatible, bool)
    before = str(script.down_revision)
    migrate_to(empty, before)
    earlier = schema_in_words(empty)
    migrate_to(empty, revision)
    later, oldest = schema_in_words(empty), oldest_of(empty)
    assert oldest <= revision
    migrate_back_to(empty, before)
    assert (schema_version(empty), schema_in_words(empty)) == (before, earlier)
    assert oldest_of(empty) <= before
    with pytest.raises(StorageError, match="the oldest that it can be brought back to"):
        migrate_back_to(empty, "0008")
    migrate_to(empty, revision)
    assert (schema_in_words(empty), oldest_of(empty)) == (later, oldest)


def oldest_of(database: Database) -> str:
    """Give the oldest schema whose code can use a database."""
    with database.reader_engine.connect() as connection:
        return apply.oldest_usable(connection)


def test_a_newer_schema_that_fits_is_used_and_left_as_it_is(tmp_path: Path) -> None:
    database, _ = database_at(tmp_path, HEAD)
    with closing(database), database.writer_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("UPDATE schema_use SET oldest = :head"), {"head": HEAD})
    settings = Settings(data_dir=tmp_path, secret_key=KEY)
    for opened in (open_runtime, open_to_read, open_to_change):
        with closing(opened(settings).database) as used:
            assert used.is_sqlite
    with closing(Database(f"sqlite:///{tmp_path}/keystone.db")) as database:
        assert schema_version(database) == "9999"


# --- Newer than this Keystone ----------------------------------------------------------------


@pytest.mark.parametrize("command", ["up", "status"])
def test_a_newer_schema_is_refused_with_a_sentence_and_a_documented_code(
    tmp_path: Path, command: str
) -> None:
    database, _ = database_at(tmp_path, HEAD)
    with database.writer_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("UPDATE schema_use SET oldest = '9999'"))
    database.close()
    refused = subprocess.run(
        [sys.executable, "-P", "-m", "jobs.cli", command],
        env={
            "PATH": os.environ["PATH"],
            "KEYSTONE_DATA_DIR": str(tmp_path),
            "KEYSTONE_PORT": str(free_ports(1)[0]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert refused.returncode == 5, refused
    assert refused.stderr.startswith("keystone: the database has schema 9999, which is newer")
    assert "Traceback" not in refused.stderr
