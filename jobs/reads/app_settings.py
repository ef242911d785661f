"""An app's settings, read from its row, under their API names."""

from typing import Any

from jobs.rules.app_fields import PARTS
from jobs.storage.models import App


def app_settings(app: App) -> dict[str, Any]:
    """Give an app's settings by name, except its domains and its repository's fields."""
    columns = {name: getattr(app, name) for name in ("branch", "auto_deploy", "host_port")}
    parts = (dict(getattr(app, part)) for part in PARTS)
    return {**columns, **{name: value for part in parts for name, value in part.items()}}
