"""SELECTs about an app's variables; their views never hold the value of a secret."""

from sqlmodel import Session, select

from jobs.reads.views import VariableView
from jobs.rules.variables import Variable
from jobs.storage.models import App, EnvironmentVariable
from jobs.storage.vault import Vault


def variable_views(session: Session, app: App, vault: Vault) -> list[VariableView]:
    """Describe an app's variables, by name."""
    return [
        VariableView(
            name=row.name,
            secret=row.is_secret,
            value=None if row.is_secret else vault.open(row.sealed).get_secret_value(),
            changed_at=row.changed_at,
        )
        for row in variables(session, app)
    ]


def variables(session: Session, app: App) -> list[EnvironmentVariable]:
    """List an app's variables by name, with sealed values."""
    statement = (
        select(EnvironmentVariable)
        .where(EnvironmentVariable.app_id == app.id)
        .order_by(EnvironmentVariable.name)
    )
    return list(session.exec(statement).all())


def open_variables(session: Session, app: App, vault: Vault) -> dict[str, Variable]:
    """Give an app's variables with their opened values."""
    return {
        row.name: Variable(vault.open(row.sealed), row.is_secret) for row in variables(session, app)
    }
