"""The audit trail is read newest first, by who, what, which thing and when."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlmodel import Session

from jobs.reads.audit import AuditFilter, audit_page
from jobs.reads.paging import SEARCH_DEPTH
from jobs.rules.actors import Actor
from jobs.states import ActorKind
from jobs.storage.models import AuditEvent, now
from tests.jobs.bench import Bench

DAY = timedelta(days=1)


def add(session: Session, tag: str, **columns: object) -> None:
    """Add an event as it would stand there."""
    by = Actor.read(str(columns.pop("actor", "user:ada")))
    assert by is not None
    row = {"actor_kind": by.kind, "actor_name": by.name, "target": "app:web", **columns}
    session.add(AuditEvent.model_validate({"tag": tag, **row}))
    session.flush()


def found(bench: Bench, wanted: AuditFilter) -> list[str]:
    """Give the tags of one page."""
    with bench.reading() as session:
        return [event.tag for event in audit_page(session, wanted).items]


def test_the_newest_come_first_page_by_page(bench: Bench) -> None:
    with bench.writing() as session:
        for number in range(5):
            add(session, f"app.{number}")
    with bench.reading() as session:
        first = audit_page(session, AuditFilter(limit=3))
        rest = audit_page(session, AuditFilter(limit=3, before=first.next))
    assert [event.tag for event in first.items + rest.items] == [
        f"app.{number}" for number in (4, 3, 2, 1, 0)
    ]
    assert rest.next is None


@pytest.mark.parametrize(
    ("wanted", "tags"),
    [
        (AuditFilter(actor="token:ci"), ["login.failed"]),
        (AuditFilter(actor="token"), []),
        (AuditFilter(target="app:api"), ["app.changed"]),
        (AuditFilter(tag="login.failed"), ["login.failed"]),
        (AuditFilter(tag="login.fail"), []),
        (AuditFilter(tag="app"), ["app.changed", "app.created"]),
        (AuditFilter(tag="%"), []),
        (AuditFilter(tag="app", target="app:web"), ["app.created"]),
        (AuditFilter(since=now() - DAY), ["app.changed"]),
        (AuditFilter(until=now() - DAY), ["login.failed", "app.created"]),
        (AuditFilter(since=now() - 3 * DAY, until=now() - DAY), ["login.failed"]),
        (AuditFilter(), ["app.changed", "login.failed", "app.created"]),
    ],
)
def test_filters_narrow(bench: Bench, wanted: AuditFilter, tags: list[str]) -> None:
    with bench.writing() as session:
        add(session, "app.created", at=now() - 9 * DAY)
        add(session, "login.failed", actor="token:ci", at=now() - 2 * DAY)
        add(session, "app.changed", target="app:api")
    assert found(bench, wanted) == tags


@pytest.mark.parametrize("column", ["actor", "tag", "target"])
def test_an_exact_filter_walks_an_index_however_many_events_there_are(
    bench: Bench, column: str
) -> None:
    equal = f"{column} = 'x'" if column != "actor" else "actor_kind = 'x' AND actor_name = 'y'"
    query = f"SELECT * FROM audit_events WHERE {equal} ORDER BY id DESC LIMIT 50"  # noqa: S608
    with bench.reading() as session:
        plan = str(session.connection().execute(text(f"EXPLAIN QUERY PLAN {query}")).all())
    assert f"USING INDEX ix_audit_events_{column}" in plan
    assert "TEMP B-TREE" not in plan


def test_a_search_that_is_cut_short_says_where_to_go_on(bench: Bench) -> None:
    with bench.writing() as session:
        add(session, "login.failed")
        session.add_all(
            AuditEvent(
                tag="app.changed", actor_kind=ActorKind.USER, actor_name="ada", target="app:web"
            )
            for _ in range(SEARCH_DEPTH + 10)
        )
    with bench.reading() as session:
        first = audit_page(session, AuditFilter(tag="login"))
        second = audit_page(session, AuditFilter(tag="login", before=first.next))
    assert first.items == []
    assert [event.tag for event in second.items] == ["login.failed"]
    assert second.next is None
