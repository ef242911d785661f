"""Where deliveries arrive: known before anything else about a request is."""

from collections.abc import Mapping
from typing import Any

WEBHOOK = "/webhooks/github"


def is_delivery(scope: Mapping[str, Any]) -> bool:
    """Whether a request is for the webhook; people like to end its address with a slash."""
    path: str = scope["path"]
    return scope["method"] == "POST" and path.rstrip("/") == WEBHOOK
