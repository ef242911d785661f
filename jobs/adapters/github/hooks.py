"""GitHub's JSON of webhooks and their deliveries. Pure; all input is untrusted.

Source: https://docs.github.com/en/rest/repos/webhooks (read 2026-11-23).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jobs.rules.domain_names import DEFAULT_PORTS
from jobs.rules.repository_values import Hook, HookDelivery, HookWish
from jobs.rules.text import first_words, one_line

PAGE = 100
GUID = re.compile(r"[A-Za-z0-9-]{1,100}")
CURSOR = re.compile(r"[\x21-\x7e]{1,200}")
LONGEST_STATUS = 100
HIGHEST_STATUS = 999
_NEXT_LINK = re.compile(r"<([^<>]*)>\s*;\s*rel=\"next\"")


def read_hook(item: Mapping[str, Any]) -> Hook | None:
    """Parse one webhook of a list; None when it has no URL."""
    config = item.get("config")
    url = config.get("url") if isinstance(config, dict) else None
    if type(item.get("id")) is not int or not isinstance(url, str):
        return None
    return Hook(id=item["id"], url=url)


def read_delivery(item: Mapping[str, Any]) -> HookDelivery | None:
    """Parse one delivery attempt of a list; None when it lacks a GUID or time, or is pending."""
    guid, event, status = item.get("guid"), item.get("event"), item.get("status")
    at = _moment(item.get("delivered_at"))
    if type(item.get("id")) is not int or not isinstance(event, str) or at is None:
        return None
    if not isinstance(guid, str) or not GUID.fullmatch(guid) or status == "pending":
        return None
    return HookDelivery(
        id=item["id"],
        guid=guid,
        event=event,
        at=at,
        status_code=_status_code(item.get("status_code")),
        status=_words(status),
    )


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment and moment.tzinfo else None


def _status_code(value: object) -> int:
    return value if type(value) is int and 0 <= value <= HIGHEST_STATUS else 0


def _words(value: object) -> str:
    return first_words(one_line(value), LONGEST_STATUS) if isinstance(value, str) else ""


def next_cursor(link: str) -> str | None:
    """Extract the next page's cursor from a Link header; the rest of the link is not trusted."""
    found = _NEXT_LINK.search(link)
    if found is None:
        return None
    try:
        cursors = parse_qs(urlsplit(found[1]).query).get("cursor", [])
    except ValueError:
        return None
    return cursors[0] if len(cursors) == 1 and CURSOR.fullmatch(cursors[0]) else None


def write_hook(wish: HookWish) -> dict[str, Any]:
    """Give GitHub's JSON for the wanted webhook."""
    return {
        "active": True,
        "events": ["push"],
        "config": {
            "url": wish.url,
            "content_type": "json",
            "insecure_ssl": "0",
            "secret": wish.secret.get_secret_value(),
        },
    }


def is_same_address(one: str, other: str) -> bool:
    """Whether two URLs are equal, ignoring a trailing slash and an explicit default port."""
    try:
        return _address(one) == _address(other)
    except ValueError:
        return False


def _address(url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(url.strip())
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.path.rstrip("/")
