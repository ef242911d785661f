"""Sets and unsets an app's environment variables; their values are stored sealed."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlmodel import Session

from jobs.errors import ConfigurationError, NotFoundError
from jobs.reads.variables import variables
from jobs.records.audit import Tag, note
from jobs.rules.actors import Actor
from jobs.rules.secret_values import unmasked_note
from jobs.rules.variables import MOST_VARIABLES, NewValue, Variable, ensure_variable
from jobs.storage.models import App, EnvironmentVariable, now
from jobs.storage.vault import Vault


@dataclass(frozen=True)
class SetVariables:
    """The result of setting variables.

    Attributes:
        secrets: the names of those that are secrets.
        notes: the secrets that logs show, one sentence each.
    """

    secrets: frozenset[str]
    notes: tuple[str, ...]


def set_variables(
    session: Session,
    app: App,
    wanted: Mapping[str, Variable | NewValue],
    actor: Actor,
    *,
    vault: Vault,
) -> SetVariables:
    """Set variables of an app; its live release is out of date after that.

    Raises:
        ConfigurationError: a name or value is invalid, or there are too many variables.
    """
    rows = {row.name: row for row in variables(session, app)}
    before = {name: _kind(rows.get(name)) for name in sorted(wanted)}
    given: dict[str, Variable] = {}
    for name, value in wanted.items():
        ensure_variable(name, value.value)
        variable = given[name] = _resolved(name, value, rows.get(name))
        row = rows.get(name) or EnvironmentVariable(app_id=app.id or 0, name=name, sealed=b"")
        row.sealed = vault.seal(variable.value)
        row.is_secret = variable.is_secret
        row.changed_at = now()
        rows[name] = row
        session.add(row)
    if len(rows) > MOST_VARIABLES:
        raise ConfigurationError(f"an app can have at most {MOST_VARIABLES} variables")
    app.configuration += 1
    session.add(app)
    after = {name: _kind(rows[name]) for name in before}
    note(session, Tag.ENVIRONMENT_SET, actor, f"app:{app.name}", before=before, after=after)
    secrets = {name: each.value for name, each in given.items() if each.is_secret}
    told = (unmasked_note(name, value.get_secret_value()) for name, value in secrets.items())
    return SetVariables(frozenset(secrets), tuple(filter(None, told)))


def _resolved(name: str, value: Variable | NewValue, row: EnvironmentVariable | None) -> Variable:
    if isinstance(value, Variable):
        return value
    return value.resolved(name, before=None if row is None else row.is_secret)


def _kind(row: EnvironmentVariable | None) -> str | None:
    """Give the part of a variable that the audit trail may hold: its kind, never its value."""
    if row is None:
        return None
    return "secret" if row.is_secret else "plain"


def unset_variable(session: Session, app: App, name: str, actor: Actor) -> None:
    """Remove a variable from an app.

    Raises:
        NotFoundError: the app has no variable of that name.
    """
    row = next((row for row in variables(session, app) if row.name == name), None)
    if row is None:
        raise NotFoundError(f"{app.name} has no variable named {name[:200]!r}")
    session.delete(row)
    app.configuration += 1
    session.add(app)
    before = {name: _kind(row)}
    note(session, Tag.ENVIRONMENT_UNSET, actor, f"app:{app.name}", before=before)
