"""An app's variables: sealed, bounded, and never in the audit trail."""

from collections.abc import Mapping

import pytest
from pydantic import SecretStr
from sqlmodel import select

from jobs.errors import ConfigurationError, NotFoundError
from jobs.reads.variables import open_variables, variables
from jobs.records.variables import set_variables, unset_variable
from jobs.rules.variables import MOST_VARIABLES, Variable
from jobs.storage.models import App, AuditEvent
from tests.build_events import output
from tests.jobs.bench import TESTER, Bench


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def put(bench: Bench, app: App, wanted: Mapping[str, str]) -> None:
    with bench.writing() as session:
        given = {name: Variable(SecretStr(value)) for name, value in wanted.items()}
        row = session.get_one(App, app.id)
        set_variables(session, row, given, TESTER, vault=bench.runtime.vault)


def values(bench: Bench, app: App) -> dict[str, str]:
    with bench.reading() as session:
        found = open_variables(session, app, bench.runtime.vault)
    return {name: variable.value.get_secret_value() for name, variable in found.items()}


def test_variables_are_set_changed_and_unset(bench: Bench, app: App) -> None:
    put(bench, app, {"B": "1", "A": "2"})
    put(bench, app, {"B": "3"})
    assert values(bench, app) == {"A": "2", "B": "3"}
    with bench.writing() as session:
        unset_variable(session, session.get_one(App, app.id), "A", TESTER)
        assert [row.name for row in variables(session, app)] == ["B"]
        with pytest.raises(NotFoundError, match="no variable named 'A'"):
            unset_variable(session, app, "A", TESTER)


def test_every_change_asks_for_a_redeploy(bench: Bench, app: App) -> None:
    put(bench, app, {"A": "1"})
    assert bench.fresh(app).configuration == 2


def test_values_are_sealed_and_in_no_record(bench: Bench, app: App) -> None:
    put(bench, app, {"A": "hunter2hunter2"})
    with bench.reading() as session:
        assert all(b"hunter2" not in row.sealed for row in variables(session, app))
        events = session.exec(select(AuditEvent)).all()
    assert events[-1].details == {"before": {"A": None}, "after": {"A": "secret"}}


@pytest.mark.parametrize(
    ("name", "value"),
    [("", "x"), ("-A", "x"), ("A/B", "x"), ("A=B", "x"), ("PORT", "1"), ("A", "hunter2\0")],
)
def test_an_invalid_variable_is_refused_without_quoting_it(
    bench: Bench, app: App, name: str, value: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        put(bench, app, {"GOOD": "1", name: value})
    assert "hunter2" not in str(caught.value)
    assert values(bench, app) == {}


def test_the_number_of_variables_is_limited(bench: Bench, app: App) -> None:
    put(bench, app, {f"N{number}": "" for number in range(MOST_VARIABLES)})
    with pytest.raises(ConfigurationError, match="at most"):
        put(bench, app, {"ONE_MORE": ""})


def test_a_secret_is_in_no_log(bench: Bench, app: App) -> None:
    put(bench, app, {"A": "hunter2hunter2"})
    bench.world.engine.build_output = (output(1, "A is hunter2hunter2"),)
    done = bench.deploy(app)
    assert "A is [REDACTED]" in bench.log(done.id or 0)
