"""GitHub's webhooks and their deliveries, as its API tells of them; part of `tests.githubapi`.

    hook = api.hooks.add("octo/web", "https://keystone.example.org/webhooks/github")
    hook.delivered("guid-1", payload, status_code=502)
    hook.delivered("guid-1", payload, status_code=202, redelivery=True)

Source: https://docs.github.com/en/rest/repos/webhooks (read 2026-11-23).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from tests.recorder import Answer, Request

MOST_ON_A_PAGE = 100
USUAL_PAGE = 30
_HOOKS = re.compile(r"/hooks(?:/(\d+)(/deliveries(?:/(\d+))?)?)?")


@dataclass
class KnownHook:
    """One webhook of a repository, with what it has tried to deliver."""

    id: int
    url: str
    events: list[str] = field(default_factory=lambda: ["push"])
    secret: str = ""
    content_type: str = "form"
    active: bool = True
    deliveries: list[dict[str, Any]] = field(default_factory=list)

    def delivered(
        self,
        guid: str,
        payload: object,
        /,
        *,
        status_code: int = 502,
        at: datetime | None = None,
        **changes: object,
    ) -> int:
        """Put an attempt of GitHub's on record, and give its id; `changes` are fields of it."""
        number = 10_000_000_000 + 1000 * self.id + len(self.deliveries)
        moment = (at or datetime.now(UTC)).astimezone(UTC)
        self.deliveries.append(
            {
                "id": number,
                "guid": guid,
                "delivered_at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "redelivery": False,
                "duration": 0.27,
                "status": _words(status_code),
                "status_code": status_code,
                "event": "push",
                "action": None,
                "installation_id": None,
                "repository_id": 1,
                "throttled_at": None,
                "payload": payload,
                **changes,
            }
        )
        return number


def _words(status_code: int) -> str:
    if status_code == 0:
        return "failed to connect to host"
    return "OK" if status_code < 300 else f"Invalid HTTP Response: {status_code}"


class KnownHooks:
    """Every repository's webhooks.

    Knobs: `fine_grained_rights` and `classic_scopes`, taken away to be refused as each kind of
    token is; `headers`, that go out with every answer.
    """

    def __init__(self) -> None:
        self.fine_grained_rights = True
        self.classic_scopes = True
        self.headers: dict[str, str] = {}
        self._hooks: dict[str, list[KnownHook]] = {}
        self._made = 0

    def add(self, full_name: str, url: str, **fields: Any) -> KnownHook:  # noqa: ANN401
        """Have a webhook."""
        self._made += 1
        hook = KnownHook(41 + self._made, url, **fields)
        self._hooks.setdefault(full_name, []).append(hook)
        return hook

    def of(self, full_name: str) -> list[KnownHook]:
        """Give a repository's webhooks."""
        return self._hooks.get(full_name, [])

    def answer(self, request: Request, full_name: str, path: str, address: str) -> Answer | None:
        """Answer a request for what is below a repository; None when it is not about webhooks.

        Args:
            address: of the repository as it was asked for, for the links to further pages.
        """
        found = _HOOKS.fullmatch(path)
        if found is None:
            return None
        hook_id, deliveries, delivery_id = found.groups()
        refused = self._refusal()
        if refused is not None or hook_id is None:
            return refused or self._all(request, full_name)
        hook = next((hook for hook in self.of(full_name) if hook.id == int(hook_id)), None)
        if hook is None:
            return self._json(404, {"message": "Not Found"})
        if deliveries is None:
            return self._change(hook, request)
        if delivery_id is None:
            return self._page(hook, request, address + path)
        return self._delivery(hook, int(delivery_id))

    def _refusal(self) -> Answer | None:
        if not self.fine_grained_rights:
            message = "Resource not accessible by personal access token"
            permission = {"X-Accepted-GitHub-Permissions": "repository_hooks=read"}
            return self._json(403, {"message": message}, permission)
        if not self.classic_scopes:
            scopes = {"X-Accepted-OAuth-Scopes": "admin:repo_hook", "X-OAuth-Scopes": "repo"}
            return self._json(404, {"message": "Not Found"}, scopes)
        return None

    def _all(self, request: Request, full_name: str) -> Answer:
        if request.method == "GET":
            return self._json(200, [_hook_body(hook) for hook in self.of(full_name)])
        wanted = json.loads(request.body)
        taken = {hook.url for hook in self.of(full_name)}
        if wanted.get("name") != "web" or wanted["config"]["url"] in taken:
            errors = [{"message": "Hook already exists on this repository"}]
            return self._json(422, {"message": "Validation Failed", "errors": errors})
        hook = self.add(full_name, wanted["config"]["url"])
        return self._json(201, _hook_body(_configured(hook, wanted)))

    def _change(self, hook: KnownHook, request: Request) -> Answer:
        if request.method != "PATCH":
            return self._json(200, _hook_body(hook))
        return self._json(200, _hook_body(_configured(hook, json.loads(request.body))))

    def _page(self, hook: KnownHook, request: Request, address: str) -> Answer:
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        size = min(int(query.get("per_page", USUAL_PAGE)), MOST_ON_A_PAGE)
        newest_first = list(reversed(hook.deliveries))
        begin = int(query.get("cursor", "v1_0").removeprefix("v1_"))
        page = newest_first[begin : begin + size]
        listed = [{k: v for k, v in item.items() if k != "payload"} for item in page]
        if begin + size >= len(newest_first):
            return self._json(200, listed)
        following = f"{address}?per_page={size}&cursor=v1_{begin + size}"
        return self._json(200, listed, {"Link": f'<{following}>; rel="next"'})

    def _delivery(self, hook: KnownHook, delivery_id: int) -> Answer:
        for item in hook.deliveries:
            if item["id"] == delivery_id:
                headers = {
                    "X-GitHub-Delivery": item["guid"],
                    "X-GitHub-Event": item["event"],
                    "X-GitHub-Hook-ID": str(hook.id),
                    "User-Agent": "GitHub-Hookshot/044aadd",
                    "content-type": "application/json",
                }
                request = {"headers": headers, "payload": item["payload"]}
                response = {"headers": {}, "payload": "as the receiver answered"}
                body = {k: v for k, v in item.items() if k != "payload"}
                whole = {**body, "url": hook.url, "request": request, "response": response}
                return self._json(200, whole)
        return self._json(404, {"message": "Not Found"})

    def _json(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> Answer:
        kind = {"Content-Type": "application/json; charset=utf-8"}
        return Answer(status, {**kind, **self.headers, **(headers or {})}, _encoded(body))


def _encoded(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _configured(hook: KnownHook, wanted: Mapping[str, Any]) -> KnownHook:
    config = wanted.get("config", {})
    hook.url = config.get("url", hook.url)
    hook.secret = config.get("secret", hook.secret)
    hook.content_type = config.get("content_type", hook.content_type)
    hook.events = wanted.get("events", hook.events)
    hook.active = wanted.get("active", hook.active)
    return hook


def _hook_body(hook: KnownHook) -> dict[str, Any]:
    config = {"content_type": hook.content_type, "insecure_ssl": "0", "url": hook.url}
    return {
        "type": "Repository",
        "id": hook.id,
        "name": "web",
        "active": hook.active,
        "events": hook.events,
        "config": {**config, "secret": "********"} if hook.secret else config,
        "created_at": "2026-11-20T12:00:00Z",
        "updated_at": "2026-11-20T12:00:00Z",
        "last_response": {"code": None, "status": "unused", "message": None},
    }
