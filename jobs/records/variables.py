"""Sets and unsets an app's environment variables; their values are stored sealed."""

from collections.abc import Mapping

from sqlmodel import Session

from jobs.errors import ConfigurationError, NotFoundError
from jobs.reads.variables import variables
from jobs.records.audit import Tag, note
from jobs.rules.actors import Actor
from jobs.rules.variables import MOST_VARIABLES, Variable, ensure_variable
from jobs.storage.models import App, EnvironmentVariable, now
from jobs.storage.vault import Vault


def set_variables(
    session: Session, app: App, wanted: Mapping[str, Variable], actor: Actor, *, vault: Vault
) -> None:
    """Set variables of an app; its live release is out of date after that.

    Raises:
        ConfigurationError: a name or value is invalid, or there are too many variables.
    """
    rows = {row.name: row for row in variables(session, app)}
    before = {name: _kind(rows.get(name)) for name in sorted(wanted)}
    for name, variable in wanted.items():
        ensure_variable(name, variable.value)
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
