"""Variables as people see them: plain ones with their value, secret ones without."""

import pytest
from pydantic import SecretStr

from jobs.errors import ConfigurationError
from jobs.reads.variables import variable_views
from jobs.reads.variables import variables as variables_of
from jobs.reads.views import VariableView
from jobs.records.variables import set_variables
from jobs.rules.variables import Variable
from jobs.storage.models import App
from jobs.storage.vault import Vault
from tests.jobs.bench import TESTER, Bench

OTHER_KEY = SecretStr("quite another key than that")


@pytest.fixture
def app(bench: Bench) -> App:
    made = bench.app()
    with bench.writing() as session:
        wanted = {
            "TOKEN": Variable(SecretStr("hunter2hunter2")),
            "MODE": Variable(SecretStr("fast"), is_secret=False),
            "EMPTY": Variable(SecretStr(""), is_secret=False),
        }
        app = session.get_one(App, made.id)
        set_variables(session, app, wanted, TESTER, vault=bench.runtime.vault)
    return made


def views(bench: Bench, app: App, vault: Vault | None = None) -> list[VariableView]:
    with bench.reading() as session:
        return variable_views(session, app, vault or bench.runtime.vault)


def test_variables_are_sorted_by_name_and_only_plain_values_are_shown(
    bench: Bench, app: App
) -> None:
    assert [(view.name, view.secret, view.value) for view in views(bench, app)] == [
        ("EMPTY", False, ""),
        ("MODE", False, "fast"),
        ("TOKEN", True, None),
    ]


def test_what_becomes_secret_is_not_shown_any_more(bench: Bench, app: App) -> None:
    with bench.writing() as session:
        row = session.get_one(App, app.id)
        wanted = {"MODE": Variable(SecretStr("fast"))}
        set_variables(session, row, wanted, TESTER, vault=bench.runtime.vault)
    assert {view.name: view.value for view in views(bench, app)}["MODE"] is None


def test_another_apps_variables_are_not_listed(bench: Bench, app: App) -> None:
    assert app.name == "web"
    assert views(bench, bench.app("api")) == []


def test_secret_values_are_not_decrypted(bench: Bench, app: App) -> None:
    with bench.writing() as session:
        for row in variables_of(session, app):
            if not row.is_secret:
                session.delete(row)
    (only,) = views(bench, app, Vault([OTHER_KEY]))
    assert (only.name, only.value) == ("TOKEN", None)


def test_a_key_that_does_not_fit_is_said(bench: Bench, app: App) -> None:
    with pytest.raises(ConfigurationError, match="KEYSTONE_SECRET_KEY"):
        views(bench, app, Vault([OTHER_KEY]))
