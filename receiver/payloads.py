"""Parses a verified delivery: GitHub's JSON to Push | Ping | Other, or PayloadError. Pure.

Only the few fields that decide something are read, each typed and bounded
(`jobs.rules.push_payload`). The event's name is not signed, so the body must have the fields that
the event needs.
"""

import binascii
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import FailFast, Field

from jobs.rules.push_payload import Payload, RepositoryPart, checked, read_push
from jobs.rules.triggers import Push
from receiver.errors import PayloadError
from receiver.strict_json import strict_json

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PAYLOAD = b"payload="
MOST_FIELDS = 10
BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Subject:
    """The repository that a payload names."""

    github_id: int
    full_name: str


@dataclass(frozen=True)
class Ping:
    """The test event that GitHub sends when a hook is created."""

    subject: Subject | None  # None: an organization's hook, which has no repository
    warning: str  # about wrong settings of the hook, or empty


@dataclass(frozen=True)
class Other:
    """An event that Keystone does not act on."""

    subject: Subject | None


Event = Push | Ping | Other


class _HookConfig(Payload):
    content_type: str = Field(default="form", max_length=100)
    insecure_ssl: str | int = "0"


class _Hook(Payload):
    events: Annotated[list[str], FailFast()] = Field(default=[], max_length=1000)
    config: _HookConfig = _HookConfig()


class _Ping(Payload):
    zen: str
    hook_id: int
    hook: _Hook | None = None
    repository: RepositoryPart | None = None


class _Other(Payload):
    repository: RepositoryPart | None = None


def parse(event: str, content_type: str, body: bytes) -> Event:
    """Read a delivery.

    Args:
        event: the value of `X-GitHub-Event`.
        content_type: `JSON` or `FORM`, without parameters.

    Raises:
        PayloadError: the body is not a payload of such an event.

    Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads (read 2026-11-23).
    """
    data = _decode(content_type, body)
    try:
        return _understand(event, data)
    except ValueError as exc:
        raise PayloadError(str(exc)) from None


def _understand(event: str, data: object) -> Event:
    match event:
        case "push":
            return read_push(data)
        case "ping":
            return _as_ping(checked(_Ping, data))
        case _:
            return Other(_subject(checked(_Other, data).repository))


def _decode(content_type: str, body: bytes) -> object:
    try:
        return strict_json(_form_payload(body) if content_type == FORM else body)
    except ValueError as exc:
        raise PayloadError(f"the payload cannot be read: {exc}") from None


def _form_payload(body: bytes) -> bytes:
    """Give the value of a form's field `payload`, which must occur once."""
    if not body.isascii():
        raise ValueError("the form is not ASCII")
    fields = body.split(b"&", MOST_FIELDS)
    found = [field[len(PAYLOAD) :] for field in fields if field.startswith(PAYLOAD)]
    if len(found) != 1 or len(fields) > MOST_FIELDS:
        raise ValueError("the form has no field `payload`, or several, or too many fields")
    return _unquoted(found[0])


def _unquoted(value: bytes) -> bytes:
    """Decode the value of a form's field.

    This decodes it as quoted-printable, which only has `=` where forms have `%`, and whose decoder
    is written in C. `urllib.parse` makes an object of each escape: 2.4 s and 1 GB for 25 MiB.
    """
    if BROKEN_ESCAPE.search(value):
        raise ValueError("the form has a % that begins no escape")
    plain = value.replace(b"+", b" ").replace(b"=", b"%3D")
    return binascii.a2b_qp(plain.replace(b"%", b"="))


def _as_ping(ping: _Ping) -> Ping:
    warnings = []
    hook = ping.hook or _Hook(events=["push"])
    if not {"push", "*"} & set(hook.events):
        warnings.append("the hook does not send pushes; tick the event `push`")
    if str(hook.config.insecure_ssl) != "0":
        warnings.append("the hook does not verify certificates; switch SSL verification on")
    return Ping(_subject(ping.repository), "; ".join(warnings))


def _subject(repository: RepositoryPart | None) -> Subject | None:
    return Subject(repository.id, repository.full_name) if repository else None
