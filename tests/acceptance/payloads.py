"""Deliveries as GitHub sends them: the same fields and headers, with a real signature.

Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads (read 2026-11-23).
"""

import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
NO_COMMIT = "0" * 40


@dataclass(frozen=True)
class PushPayload:
    """One push, as GitHub describes it."""

    repository_id: int
    full_name: str
    after: str
    pushed_at: int  # seconds
    before: str = NO_COMMIT
    ref: str = "refs/heads/main"
    message: str = "Change something"
    touched: tuple[str, ...] = ()  # the files of its one commit; empty: no commit listed

    def to_json(self) -> dict[str, Any]:
        """Give the body of the delivery."""
        return {
            "ref": self.ref,
            "before": self.before,
            "after": self.after,
            "repository": {
                **repository(self.repository_id, self.full_name),
                "created_at": 1700000000,
                "pushed_at": self.pushed_at,
            },
            "pusher": {"name": "octocat", "email": "octocat@github.com"},
            "sender": {"login": "octocat", "id": 583231, "type": "User"},
            "created": self.before == NO_COMMIT,
            "deleted": self.after == NO_COMMIT,
            "forced": False,
            "base_ref": None,
            "compare": f"https://github.com/{self.full_name}/compare/main",
            "commits": [self._listed_commit()] if self.touched else [],
            "head_commit": self._head_commit(),
        }

    def _listed_commit(self) -> dict[str, Any]:
        return {**(self._head_commit() or {}), "modified": list(self.touched)}

    def _head_commit(self) -> dict[str, Any] | None:
        if self.after == NO_COMMIT:
            return None
        person = {"name": "Ada Lovelace", "email": "ada@example.org", "username": "ada"}
        return {
            "id": self.after,
            "tree_id": self.after,
            "distinct": True,
            "message": self.message,
            "timestamp": "2026-11-23T12:00:00Z",
            "url": f"https://github.com/{self.full_name}/commit/{self.after}",
            "author": person,
            "committer": person,
            "added": [],
            "removed": [],
            "modified": ["version.txt"],
        }


def repository(repository_id: int, full_name: str) -> dict[str, Any]:
    """Give the part of a payload that names the repository."""
    owner, _, name = full_name.partition("/")
    return {
        "id": repository_id,
        "name": name,
        "full_name": full_name,
        "private": True,
        "owner": {"name": owner, "login": owner, "email": None},
        "clone_url": f"https://github.com/{full_name}.git",
        "default_branch": "main",
    }


def ping(repository_id: int, full_name: str) -> dict[str, Any]:
    """Give the body of the first delivery of a new webhook."""
    config = {"content_type": "json", "insecure_ssl": "0", "url": "https://example.org/"}
    return {
        "zen": "Keep it logically awesome.",
        "hook_id": 42,
        "hook": {"type": "Repository", "id": 42, "events": ["push"], "config": config},
        "repository": repository(repository_id, full_name),
        "sender": {"login": "octocat", "id": 583231, "type": "User"},
    }


@dataclass(frozen=True)
class Delivery:
    """One POST to the webhook."""

    body: bytes
    secret: str
    event: str = "push"
    content_type: str = JSON
    guid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def headers(self) -> dict[str, str]:
        """Give the headers that GitHub would send, with the body's signature."""
        signature = hmac.new(self.secret.encode(), self.body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": self.content_type,
            "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Delivery": self.guid,
            "X-GitHub-Event": self.event,
            "X-GitHub-Hook-ID": "42",
            "X-GitHub-Hook-Installation-Target-Type": "repository",
            "X-Hub-Signature-256": f"sha256={signature}",
        }


def encoded(payload: dict[str, Any], content_type: str = JSON) -> bytes:
    """Encode a payload as GitHub does for the webhook's content type."""
    text = json.dumps(payload, separators=(",", ":"))
    if content_type == FORM:
        return urlencode({"payload": text}).encode()
    return text.encode()
