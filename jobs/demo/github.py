"""The demo's GitHub: signs a push as GitHub does, and posts it to the webhook."""

import hashlib
import hmac
import http.client
import json
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from jobs.demo.sample import BRANCH, Change
from jobs.errors import PlatformError

REPOSITORY = "ada/hello"
REPOSITORY_ID = 1815
PATIENCE_S = 10


def deliver_push(webhook_url: str, secret: SecretStr, change: Change) -> int:
    """Post a push, and return the id of the resulting deployment.

    Raises:
        PlatformError: the receiver did not accept it.
    """
    body = json.dumps(push_payload(change)).encode()
    status, answer = _post(webhook_url, body, _headers(body, secret))
    if status != http.client.ACCEPTED:
        raise PlatformError(f"the webhook answered {status}: {json.dumps(answer)[:500]}")
    return int(answer["deployments"][0]["id"])


def push_payload(change: Change) -> dict[str, object]:
    """Build the payload that GitHub would send for a push of this commit.

    Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads#push (read 2026-11-23).
    """
    head = {
        "id": change.sha,
        "message": change.message,
        "author": {"name": "Ada Lovelace", "email": "ada@keystone.invalid", "username": "ada"},
    }
    return {
        "ref": f"refs/heads/{BRANCH}",
        "before": change.before,
        "after": change.sha,
        "created": change.before.strip("0") == "",
        "deleted": False,
        "forced": False,
        "repository": {
            "id": REPOSITORY_ID,
            "full_name": REPOSITORY,
            "pushed_at": int(time.time()),
        },
        "head_commit": head,
        "commits": [head | {"added": [], "removed": [], "modified": ["version.txt"]}],
        "pusher": {"name": "ada"},
        "sender": {"login": "ada"},
    }


def _headers(body: bytes, secret: SecretStr) -> dict[str, str]:
    signature = hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/demo",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": f"sha256={signature}",
    }


def _post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    try:
        connection.request("POST", parts.path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise PlatformError(f"the webhook did not answer: {exc}") from exc
    finally:
        connection.close()
