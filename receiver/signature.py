"""Signs and verifies bodies: HMAC-SHA256 over the raw bytes. Pure."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import SecretStr

HEADER = re.compile(r"sha256=([0-9a-f]{64})")

Owner = TypeVar("Owner")


def sign(body: bytes, secret: SecretStr) -> str:
    """Give the value that GitHub puts into `X-Hub-Signature-256`.

    Source: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    (read 2026-11-23).
    """
    key = secret.get_secret_value().encode()
    return f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"


def is_well_formed(header: str | None) -> bool:
    """Whether a header has the form of a signature."""
    return header is not None and HEADER.fullmatch(header) is not None


def signers(
    body: bytes, header: str, secrets: Mapping[Owner, Iterable[SecretStr]]
) -> frozenset[Owner]:
    """Give the owners of the secrets that the body was signed with; usually one, or none.

    A malformed header is rejected without any HMAC. For a well-formed one every secret is tried,
    even after a match, so that the time taken reveals nothing. An empty secret never matches.
    """
    if not is_well_formed(header):
        return frozenset()
    given, found = header.encode(), set()
    for owner, owned in secrets.items():
        for secret in owned:
            is_signed = hmac.compare_digest(sign(body, secret).encode(), given)
            if is_signed and secret.get_secret_value():
                found.add(owner)
    return frozenset(found)
