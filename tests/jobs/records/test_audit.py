"""The audit trail takes what it is given, within bounds."""

from sqlmodel import select

from jobs.models import AuditEvent
from jobs.records.audit import KEYSTONE, Actor, Tag, note
from tests.jobs.bench import Bench


def test_who_did_what_to_which_thing_when(bench: Bench) -> None:
    with bench.writing() as session:
        note(session, Tag.APP_CHANGED, Actor("user", "ada", "10.0.0.1"), "app:web", branch="next")
    with bench.reading() as session:
        event = session.exec(select(AuditEvent)).one()
    assert (event.tag, event.actor, event.target) == ("app.changed", "user:ada", "app:web")
    assert (event.address, event.details) == ("10.0.0.1", {"branch": "next"})
    assert event.at.utcoffset() is not None


def test_names_from_outside_are_cut(bench: Bench) -> None:
    with bench.writing() as session:
        note(session, Tag.LOGIN_FAILED, Actor("user", "x" * 999, "y" * 999), "z" * 999)
    with bench.reading() as session:
        event = session.exec(select(AuditEvent)).one()
    assert (len(event.actor), len(event.address), len(event.target)) == (200, 64, 200)


def test_every_tag_is_a_subject_and_an_event() -> None:
    assert all(tag.count(".") == 1 for tag in Tag)
    assert str(KEYSTONE) == "keystone:keystone"
