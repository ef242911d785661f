"""An app's variables as people may see them: the value of a secret one never leaves."""

from sqlmodel import Session

from jobs.models import App
from jobs.records.environment import variables
from jobs.vault import Vault
from jobs.views import VariableView


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
