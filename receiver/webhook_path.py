"""The webhook's path, in a module of its own that code before the routing can import."""

from collections.abc import Mapping
from typing import Any

from jobs.rules.naming import WEBHOOK_PATH


def is_delivery(scope: Mapping[str, Any]) -> bool:
    """Whether a request is for the webhook; its address may end with a slash."""
    path: str = scope["path"]
    return scope["method"] == "POST" and path.rstrip("/") == WEBHOOK_PATH
