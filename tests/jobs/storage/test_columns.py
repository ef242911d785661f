"""What people read is clean in the database, and out of it, whichever version stored it."""

import json
from types import NoneType
from typing import get_args

import pytest
from pydantic.fields import FieldInfo
from sqlalchemy import text
from sqlmodel import AutoString, SQLModel, col, select

from jobs.reads.deployments import DeploymentFilter, deployment_page
from jobs.rules.app_fields import PARTS
from jobs.rules.app_settings import Settings
from jobs.states import ActorKind
from jobs.storage.columns import OneLine, SeveralLines, ShownName
from jobs.storage.models import App, AuditEvent, Deployment
from tests.jobs.bench import Bench

FORGED = "ada\nuser:root\u2028x\u200b \x1b[2J y"

# Text that is compared with the outside, or that we write ourselves: kept exactly as it is.
EXACT = {
    "api_tokens.hashed",
    "api_tokens.name",
    "apps.branch",
    "apps.context",
    "apps.dockerfile",
    "apps.fallback_container_id",
    "apps.build_target",
    "apps.health_path",
    "apps.health_status",
    "apps.live_address",
    "apps.live_container_id",
    "apps.live_slot",
    "apps.name",
    "apps.stop_signal",
    "apps.tag_pattern",
    "apps.warm_address",
    "audit_events.address",
    "audit_events.tag",
    "branch_heads.commit_sha",
    "branch_heads.ref",
    "certificates.domain",
    "deliveries.body_sha256",
    "deliveries.commit_sha",
    "deliveries.event",
    "deliveries.guid",
    "deliveries.ref",
    "deployments.before_sha",
    "deployments.body_sha256",
    "deployments.commit_sha",
    "deployments.guid",
    "deployments.ref",
    "deployments.request_key",
    "domain_ports.scheme",
    "domains.name",
    "environment_variables.name",
    "engine_items.app",
    "engine_items.engine_id",
    "engine_items.name",
    "identity.image_key",
    "identity.name",
    "leases.holder",
    "login_sessions.address",
    "login_sessions.csrf_token",
    "login_sessions.hashed",
    "refusal_counts.reason",
    "refused_deliveries.address",
    "refused_deliveries.claimed",
    "releases.commit_sha",
    "releases.image",
    "releases.image_id",
    "repositories.full_name",
    "repositories.git_url",
    "repositories.name_key",
    "schema_use.oldest",
    "users.name",
    "users.password_hash",
    "vault_keys.fingerprint",
}


def test_every_text_is_either_exact_or_cleaned() -> None:
    exact = {
        f"{table.name}.{column.name}"
        for table in SQLModel.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, AutoString)
    }
    # A new column of text is one of `jobs.storage.columns`, if people read it; or it stands in
    # this list.
    assert exact - EXACT == set()


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (OneLine(9), "ada user:root x y"),
        (ShownName(9), "ada user:root x\ufffd \ufffd y"),
        (SeveralLines(9), "ada\nuser:rootx  y"),
    ],
)
def test_text_is_cleaned_on_the_way_in_and_on_the_way_out(kind: OneLine, shown: str) -> None:
    assert kind.process_bind_param(FORGED, None) == shown  # type: ignore[arg-type]
    assert kind.process_result_value(FORGED, None) == shown  # type: ignore[arg-type]
    assert kind.process_bind_param(None, None) is None  # type: ignore[arg-type]


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def test_rows_of_an_earlier_version_are_read_clean(bench: Bench, app: App) -> None:
    ref = "refs/heads/ma\u200bin"
    deployment = bench.ask(app)
    with bench.writing() as session:
        session.connection().execute(
            text(
                "UPDATE deployments SET reason = :bad, author = :bad, actor_name = :bad,"
                " commit_message = :bad, ref = :ref"
            ),
            {"bad": FORGED, "ref": ref},
        )
    with bench.reading() as session:
        (view,) = deployment_page(session, DeploymentFilter(author="ada")).items
        row = session.get_one(Deployment, deployment)
    assert view.reason == row.reason == "ada user:root x y"
    assert view.author == row.actor_name == "ada user:root x\ufffd \ufffd y"
    assert view.actor == f"user:{row.actor_name}"
    assert view.commit_message == "ada\nuser:rootx  y"
    assert view.ref == row.ref == ref


def test_what_is_looked_for_is_cleaned_as_what_is_stored(bench: Bench) -> None:
    with bench.writing() as session:
        session.add(
            AuditEvent(tag="x.y", actor_kind=ActorKind.USER, actor_name=FORGED, target="app:web")
        )
    with bench.reading() as session:
        wanted = select(AuditEvent.actor_name).where(col(AuditEvent.actor_name) == FORGED)
        (actor,) = session.exec(wanted).all()
        stored = session.connection().execute(text("SELECT actor_name FROM audit_events")).scalars()
        assert actor in [*stored]
    assert actor == "ada user:root x\ufffd \ufffd y"


def test_a_setting_that_is_not_set_is_not_stored(bench: Bench) -> None:
    # An earlier version, in which it could not be empty, reads its own default then.
    app = bench.app(stop_signal="SIGQUIT")
    with bench.reading() as session:
        stored = json.loads(session.execute(text("SELECT container FROM apps")).scalar_one())
        assert session.get_one(App, app.id).container.container_port is None
    assert "container_port" not in stored
    assert stored["stop_signal"] == "SIGQUIT"


@pytest.mark.parametrize("kind", PARTS.values())
def test_a_setting_that_may_be_none_is_none_unless_set(kind: type[Settings]) -> None:
    told = kind.kept({}).model_dump()
    may_be_none = {name for name, field in kind.model_fields.items() if allows_none(field)}
    assert {name for name, value in told.items() if value is None} == may_be_none


def allows_none(field: FieldInfo) -> bool:
    return NoneType in get_args(field.annotation)
