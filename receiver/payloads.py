"""What a verified delivery says: GitHub's JSON as Push | Ping | Other, or PayloadError. Pure.

Only the few fields that decide something are read, each typed and bounded (`jobs.pushes`). The
event's name is not signed, so the body must have what the event needs.
"""

from dataclasses import dataclass
from urllib.parse import parse_qs

from pydantic import Field

from jobs.pushes import Payload, RepositoryPart, checked, read_push
from jobs.triggers import Push
from receiver.errors import PayloadError
from receiver.strict_json import strict_json

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Subject:
    """The repository that a payload names."""

    github_id: int
    full_name: str


@dataclass(frozen=True)
class Ping:
    """GitHub says hello: the hook was just made."""

    subject: Subject | None  # an organization's hook belongs to no repository
    warning: str  # what looks wrong with the hook's own settings, or empty


@dataclass(frozen=True)
class Other:
    """An event that Keystone does not act on."""

    subject: Subject | None


Event = Push | Ping | Other


class _HookConfig(Payload):
    content_type: str = Field(default="form", max_length=100)
    insecure_ssl: str | int = "0"


class _Hook(Payload):
    events: list[str] = Field(default=[], max_length=1000)
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
        PayloadError: the body is not what such an event sends.

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
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("the form is not ASCII") from None
    fields = parse_qs(text, max_num_fields=10, encoding="utf-8", errors="strict")
    found = fields.get("payload", [])
    if len(found) != 1:
        raise ValueError("the form has no field `payload`, or several")
    return found[0].encode()


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
