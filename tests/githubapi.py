"""GitHub's API as far as Keystone uses it, over real HTTP.

    with GitHubApi(token="ghp_…") as api:
        api.know("octo/web", 186853002)
        GitHubForge(api.url).post_status(…)
        assert [status.state for status in api.statuses] == ["success"]

Faults are scripted with `api.fail(Fault(status=500))`, GitHub's own refusals with `refusal`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.githubhooks import KnownHooks
from tests.recorder import Answer, Fault, RecordingServer, Request

__all__ = ["Fault", "GitHubApi", "PostedStatus", "refusal"]

LONGEST_DESCRIPTION = 140
MOST_STATUSES = 1000  # of one commit and context
STATES = {"error", "failure", "pending", "success"}
_STATUSES = re.compile(r"/(repos/[^/]+/[^/]+|repositories/\d+)/statuses/([0-9a-f]{40,64})")
_REPOSITORY = re.compile(r"/(repos/[^/]+/[^/]+|repositories/\d+)")
_BELOW = re.compile(r"(/repos/[^/]+/[^/]+|/repositories/\d+)(/.+)")


@dataclass(frozen=True)
class PostedStatus:
    """A commit status the API took."""

    repository: str  # as it was addressed: "octo/web", or the id
    sha: str
    state: str
    description: str
    context: str
    target_url: str


class GitHubApi(RecordingServer):
    """Takes commit statuses, in order, knows webhooks (`hooks`), and answers like GitHub.

    Knob: `most_statuses` of one commit and context.

    Args:
        token: the only one that is let in; None: every one.
    """

    def __init__(self, *, token: str | None = None) -> None:
        super().__init__()
        self.token = token
        self.statuses: list[PostedStatus] = []
        self.hooks = KnownHooks()
        self.most_statuses = MOST_STATUSES
        self._ids: dict[str, int] = {}
        self._moved: dict[str, int] = {}
        self._public: set[str] = set()

    def know(self, full_name: str, github_id: int, *, is_public: bool = False) -> None:
        """Have a repository. Statuses of unknown ones are taken too, but they have no id."""
        self._ids[full_name] = github_id
        if is_public:
            self._public.add(full_name)

    def delete(self, full_name: str) -> None:
        """Have it no more."""
        del self._ids[full_name]

    def rename(self, old_name: str, new_name: str) -> None:
        """Rename a repository: the old name redirects, reads with 301 and writes with 307."""
        self._ids[new_name] = self._moved[old_name] = self._ids.pop(old_name)

    def answer(self, request: Request) -> Answer:
        """Answer as GitHub would."""
        if request.authorization is None and self.token is not None:
            # Of what nobody may see without a token, nobody is told that it is there.
            if request.method != "GET" or self._name(request.path) not in self._public:
                return refusal(404, "Not Found")
        elif self.token is not None and not self._is_let_in(request):
            return refusal(401, "Bad credentials")
        moved = self._redirect(request)
        if moved is not None:
            return moved
        posted = _STATUSES.fullmatch(request.path)
        if request.method == "POST" and posted:
            return self._take(posted[1], posted[2], request)
        if request.method == "GET" and _REPOSITORY.fullmatch(request.path):
            return self._describe(request.path)
        return self._below(request) or refusal(404, "Not Found")

    def _below(self, request: Request) -> Answer | None:
        """Answer for what a repository has: its webhooks."""
        found = _BELOW.fullmatch(request.path)
        name = self._name(found[1]) if found else None
        if found is None or name is None:
            return None
        return self.hooks.answer(request, name, found[2], self.url + found[1])

    def _name(self, address: str) -> str | None:
        names = self._ids.items()
        ways = {f"/repos/{name}": name for name, _ in names}
        ways |= {f"/repositories/{github_id}": name for name, github_id in names}
        return ways.get(address)

    def _is_let_in(self, request: Request) -> bool:
        return request.authorization in {f"token {self.token}", f"Bearer {self.token}"}

    def _redirect(self, request: Request) -> Answer | None:
        for old_name, github_id in self._moved.items():
            address = f"/repos/{old_name}"
            if request.path == address or request.path.startswith(f"{address}/"):
                rest = request.path.removeprefix(address)
                location = f"{self.url}/repositories/{github_id}{rest}"
                status = 301 if request.method == "GET" else 307
                body = {"message": "Moved Permanently", "url": location}
                return _json(status, body, {"Location": location})
        return None

    def _take(self, address: str, sha: str, request: Request) -> Answer:
        body = json.loads(request.body)
        if problem := self._problem_with(sha, body):
            return refusal(422, "Validation Failed", errors=[{"message": problem}])
        status = PostedStatus(
            repository=address.split("/", 1)[1],
            sha=sha,
            state=body["state"],
            description=body.get("description") or "",
            context=body.get("context") or "default",
            target_url=body.get("target_url") or "",
        )
        self.statuses.append(status)
        return _json(201, self._status_body(address, status))

    def _problem_with(self, sha: str, body: dict[str, Any]) -> str:
        """Say what GitHub does not take about a status; empty when it takes it."""
        description, context = body.get("description") or "", body.get("context") or "default"
        told = [
            status for status in self.statuses if (status.sha, status.context) == (sha, context)
        ]
        if body.get("state") not in STATES:
            return "state is not known"
        if len(description) > LONGEST_DESCRIPTION:
            return "description is too long (maximum is 140 characters)"
        if any(
            character > "\uffff" or "\ud800" <= character <= "\udfff" for character in description
        ):
            return "description contains unicode characters above 0xffff"
        if len(told) >= self.most_statuses:
            return "This SHA and context has reached the maximum number of statuses."
        return ""

    def _status_body(self, address: str, status: PostedStatus) -> dict[str, Any]:
        return {
            "url": f"{self.url}/{address}/statuses/{status.sha}",
            "id": len(self.statuses),
            "node_id": f"SC_{len(self.statuses)}",
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
            "context": status.context,
            "created_at": "2026-11-23T12:00:00Z",
            "updated_at": "2026-11-23T12:00:00Z",
            "creator": {"login": "keystone-bot", "id": 1, "type": "User"},
        }

    def _describe(self, path: str) -> Answer:
        for full_name, github_id in self._ids.items():
            if path in {f"/repos/{full_name}", f"/repositories/{github_id}"}:
                return _json(200, {"id": github_id, "full_name": full_name, "private": True})
        return refusal(404, "Not Found")


def refusal(
    status: int,
    message: str,
    *,
    errors: list[Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Give the answer by which GitHub refuses."""
    body = {"message": message, "documentation_url": "https://docs.github.com/rest"}
    return _json(status, body if errors is None else {**body, "errors": errors}, headers)


def _json(status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status, {**kind, **(headers or {})}, json.dumps(body).encode())
