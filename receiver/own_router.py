"""Recognises requests that come through Keystone's own router, by the key that the router adds.

Anyone may send the header, and any program on this machine may connect from any of its addresses.
So only the key counts, which nobody but Keystone's own users can read.
"""

import hmac
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import SecretStr

from jobs.rules.naming import ROUTER_HEADER

HEADER = ROUTER_HEADER.lower().encode()
FORWARDED_FOR = b"x-forwarded-for"

RawHeaders = Iterable[tuple[bytes, bytes]]


class OwnRouter:
    """The router, as the web process knows it.

    Args:
        key: the router's key; None: there is no router.
    """

    def __init__(self, key: SecretStr | None = None) -> None:
        self._key = key.get_secret_value().encode() if key else b""

    def has_sent(self, headers: RawHeaders) -> bool:
        """Whether a request with these headers came through the router."""
        given = [value for name, value in headers if name == HEADER]
        return bool(self._key) and len(given) == 1 and hmac.compare_digest(given[0], self._key)

    def visitor(self, scope: Mapping[str, Any]) -> str | None:
        """Give the address that connected to the router; None if the router did not send this.

        It may be a proxy's: `receiver.proxies` finds the visitor behind trusted proxies.
        """
        if not self.has_sent(scope["headers"]):
            return None
        chain = b",".join(value for name, value in scope["headers"] if name == FORWARDED_FOR)
        return chain.rpartition(b",")[2].strip().decode("latin-1")


def without_key(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Give the headers without the router's, so that nothing shows or passes on the key."""
    return [(name, value) for name, value in headers if name != HEADER]
