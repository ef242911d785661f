"""Short messages between Keystone's processes over Redis: health reports, requests and answers.

The web process never has access to the Docker socket: it asks the watcher, which answers within
seconds or not at all. The messages are not authoritative data; all of them may be lost.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError
from redis.retry import Retry

from jobs.errors import (
    ConfigurationError,
    ConflictError,
    DockerError,
    GitHubDeniedError,
    GitHubError,
    GitHubTokenError,
    KeystoneError,
    NotFoundError,
    QueueError,
)

CONNECT_TIMEOUT_S = 2
# Longer than the longest blocking read, so that a wait ends by its own timeout, not the socket's.
SOCKET_TIMEOUT_S = 15
# The socket timeout for wake-ups, to which no process waits for an answer.
WAKE_TIMEOUT_S = 3
HEALTH_KEPT_S = 15
ANSWER_KEPT_S = 30
LONGEST_BACKLOG = 1000
# The watcher's two queues: so a question about a container never waits for a call to GitHub.
QUESTIONS, ERRANDS = "questions", "errands"
# The error types that an answer may name; every other error becomes a DockerError.
ERRORS: dict[str, type[KeystoneError]] = {
    kind.__name__: kind
    for kind in (
        ConfigurationError,
        ConflictError,
        GitHubDeniedError,
        GitHubError,
        GitHubTokenError,
        NotFoundError,
    )
}


# For connections to Redis. A server that refuses a write has become the replica of another one: the
# connection is made again, since the address now leads to that one, and the call is repeated.
FOLLOW_PRIMARY = Retry(NoBackoff(), 1, supported_errors=(ReadOnlyError,))


def connect(redis_url: str, *, timeout_s: float = SOCKET_TIMEOUT_S) -> Redis:
    """Open a connection to Redis whose calls give up instead of hanging."""
    return Redis.from_url(
        redis_url,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=timeout_s,
        retry=FOLLOW_PRIMARY,
    )


@dataclass(frozen=True)
class Question:
    """A request of the web process: a question about the engine, or an errand."""

    id: str
    kind: str  # "container", "output", "install_hook"
    about: dict[str, Any]


class Bus:
    """One process's access to the messages."""

    def __init__(self, redis: Redis, identity: str) -> None:
        self._redis = redis
        self._prefix = f"keystone-{identity}"

    def ping(self) -> None:
        """Check that Redis answers.

        Raises:
            QueueError: Redis does not answer.
        """
        self._call("ping")

    def report_health(self, health: dict[str, str]) -> None:
        """Publish the health of the services that the watcher checks; it expires after 15 s.

        Args:
            health: by part ("docker", "router"): "ok", or a sentence that describes the problem.
        """
        self._call("set", f"{self._prefix}-health", json.dumps(health), ex=HEALTH_KEPT_S)

    def health(self) -> dict[str, str] | None:
        """Give the watcher's last report; None when there was none for 15 s."""
        raw = self._call("get", f"{self._prefix}-health")
        return json.loads(raw) if raw else None

    def ask(
        self,
        kind: str,
        *,
        timeout_s: float = 5,
        line: str = QUESTIONS,
        **about: Any,  # noqa: ANN401 — whatever JSON can say
    ) -> dict[str, Any]:
        """Ask the watcher, and wait for its answer.

        Raises:
            QueueError: the watcher did not answer in time.
            DockerError: the watcher could not get the information.
            GitHubError, ConflictError, ConfigurationError, NotFoundError: an errand was refused.
        """
        question = {"id": uuid.uuid4().hex, "kind": kind, "about": about}
        self._call("rpush", f"{self._prefix}-{line}", json.dumps(question))
        self._call("ltrim", f"{self._prefix}-{line}", -LONGEST_BACKLOG, -1)
        found = self._call("blpop", [f"{self._prefix}-answer-{question['id']}"], timeout=timeout_s)
        if found is None:
            raise QueueError("the watcher does not answer; is `keystone up` running?")
        answer: dict[str, Any] = json.loads(found[1])
        if "error" in answer:
            raise ERRORS.get(answer.get("kind", ""), DockerError)(answer["error"])
        return answer

    def next_question(self, *, timeout_s: float, line: str = QUESTIONS) -> Question | None:
        """Wait for a question; None when the timeout passes without one."""
        found = self._call("blpop", [f"{self._prefix}-{line}"], timeout=timeout_s)
        return Question(**json.loads(found[1])) if found else None

    def answer(self, question: Question, answer: dict[str, Any]) -> None:
        """Answer a question; an answer that is not fetched expires after 30 s."""
        key = f"{self._prefix}-answer-{question.id}"
        self._call("rpush", key, json.dumps(answer))
        self._call("expire", key, ANSWER_KEPT_S)

    def _call(self, command: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        try:
            return getattr(self._redis, command)(*args, **options)
        except RedisError as exc:
            raise QueueError(f"Redis does not answer: {type(exc).__name__}") from exc
