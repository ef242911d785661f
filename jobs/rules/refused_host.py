"""Recognises an app that refuses the Host header of a request, by what frameworks then say. Pure.

Sources (read 2026-12-01): Django's `django.security.DisallowedHost`, Rails'
`ActionDispatch::HostAuthorization`, Starlette's TrustedHostMiddleware, Vite's and webpack's
development servers, Symfony's `trusted_hosts`, ASP.NET's host filtering.
"""

import re
from collections.abc import Iterable

_REFUSED = re.compile(
    r"invalid http_host|disallowedhost|blocked hosts?\b|invalid host(?:name)?\b|untrusted host"
    r"|host .{0,300}is not allowed|unknown host header|host header .{0,60}(?:invalid|not allowed)",
    re.IGNORECASE,
)
# Misdirected Request: the server does not serve that host.
STATUSES = frozenset({400, 403, 421})


def host_is_refused(status: int | None, texts: Iterable[str]) -> bool:
    """Whether an app refuses the Host: by the answer's status, and by what it said and logged."""
    return status in STATUSES and any(map(_REFUSED.search, texts))
