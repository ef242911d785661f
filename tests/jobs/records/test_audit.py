"""The audit trail takes what it is given, within bounds."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from jobs.records.audit import Tag, note
from jobs.rules.actors import KEYSTONE, Actor
from jobs.states import ActorKind
from jobs.storage.models import AuditEvent
from tests.jobs.bench import Bench


def test_who_did_what_to_which_thing_when(bench: Bench) -> None:
    with bench.writing() as session:
        note(
            session,
            Tag.APP_CHANGED,
            Actor(ActorKind.USER, "ada", "10.0.0.1"),
            "app:web",
            branch="next",
        )
    with bench.reading() as session:
        event = session.exec(select(AuditEvent)).one()
    assert (event.tag, event.actor, event.target) == ("app.changed", "user:ada", "app:web")
    assert (event.address, event.details) == ("10.0.0.1", {"branch": "next"})
    assert event.at.utcoffset() is not None


def test_names_from_outside_are_cut(bench: Bench) -> None:
    with bench.writing() as session:
        note(session, Tag.LOGIN_FAILED, Actor(ActorKind.USER, "x" * 999, "y" * 999), "z" * 999)
    with bench.reading() as session:
        event = session.exec(select(AuditEvent)).one()
    assert (len(event.actor), len(event.address), len(event.target)) == (200, 64, 200)


def test_every_tag_is_a_subject_and_an_event() -> None:
    assert all(tag.count(".") == 1 for tag in Tag)
    assert str(KEYSTONE) == "keystone:keystone"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor_name = 'bob'",
        "UPDATE audit_events SET details = '{}' WHERE id = 1",
        "DELETE FROM audit_events",
        "DELETE FROM audit_events WHERE id = 1",
        "INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events",
    ],
)
def test_the_database_itself_refuses_to_change_what_was_written(
    bench: Bench, statement: str
) -> None:
    with bench.writing() as session:
        note(session, Tag.APP_REMOVED, Actor(ActorKind.USER, "ada"), "app:web")
    with pytest.raises(IntegrityError, match="never"), bench.writing() as session:
        session.connection().execute(text(statement))
    with bench.reading() as session:
        assert [event.actor for event in session.exec(select(AuditEvent))] == ["user:ada"]


def test_our_own_code_cannot_change_an_event_either(bench: Bench) -> None:
    with bench.writing() as session:
        note(session, Tag.APP_REMOVED, Actor(ActorKind.USER, "ada"), "app:web")
    with pytest.raises(IntegrityError, match="never changed"), bench.writing() as session:
        session.exec(select(AuditEvent)).one().actor_name = "bob"
    with pytest.raises(IntegrityError, match="never removed"), bench.writing() as session:
        session.delete(session.exec(select(AuditEvent)).one())
