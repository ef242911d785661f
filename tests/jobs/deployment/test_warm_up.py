"""The rehearsal leaves nothing behind but what SQLAlchemy has learned from it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlmodel import SQLModel, func, select

from jobs.deployment.warm_up import rehearse
from tests.jobs.bench import Bench


def counts(bench: Bench) -> dict[str, int]:
    """Give how many rows each table has."""
    with bench.runtime.database.reading() as session:
        return {
            name: session.exec(select(func.count()).select_from(table)).one()
            for name, table in SQLModel.metadata.tables.items()
        }


@contextmanager
def statements(bench: Bench) -> Iterator[set[str]]:
    """Collect what is sent to the database to be written."""
    seen: set[str] = set()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.add(statement)

    engine = bench.runtime.database.writer_engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_a_warm_up_leaves_no_rows(bench: Bench) -> None:
    bench.deploy(bench.app())
    before = counts(bench)
    rehearse(bench.runtime)
    assert counts(bench) == before


def test_several_workers_can_warm_up_at_once(bench: Bench) -> None:
    rehearse(bench.runtime)
    rehearse(bench.runtime)
    assert bench.app().id == 1


@pytest.mark.parametrize("verb", ["INSERT", "UPDATE", "SELECT"])
def test_a_deployment_makes_few_statements_that_the_warm_up_did_not_make(
    bench: Bench, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of one that lasts 5 s, as on a busy machine, the lease is renewed.
    monkeypatch.setattr("jobs.dispatch.RENEW_EVERY_S", 3600)
    app = bench.app()
    bench.deploy(app)
    bench.pass_trial(app)
    with statements(bench) as rehearsed:
        rehearse(bench.runtime)
    asked = bench.ask(app)
    with statements(bench) as made:
        bench.run(asked)
    news = {statement for statement in made - rehearsed if statement.startswith(verb)}
    assert len(news) <= 2, news
