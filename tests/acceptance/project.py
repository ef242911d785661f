"""A repository, its app, and GitHub's view of both."""

import json
import os
import secrets
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from tests.acceptance.keystone import ANSWER_WITHIN_S, Json, Keystone
from tests.acceptance.payloads import JSON, NO_COMMIT, Delivery, PushPayload, encoded
from tests.gitserver import Executable, GitServer, Repo
from tests.images import app_files, web_binary
from tests.processes import processes

_FIRST_GITHUB_ID = 186_853_000


def building(*commands: tuple[str, ...]) -> str:
    """Give the Dockerfile of an app whose build runs these commands of the test server.

    The engine has none of them in its cache, whatever it built before.
    """
    runs = [f"RUN {json.dumps(['/web', *command])}" for command in commands]
    head = ["FROM scratch", f"ENV NEVER_BUILT_BEFORE={secrets.token_hex(8)}"]
    copies = ["COPY web /web", "COPY version.txt behaviour /"]
    return "\n".join([*head, *copies, *runs, 'CMD ["/web"]', ""])


@dataclass(frozen=True)
class Nap:
    """A build that sleeps until the test wakes it, however long a busy machine takes to reach it.

    Attributes:
        seconds: how long it would sleep; this number identifies its process.
    """

    seconds: int = field(default_factory=lambda: 10**6 + secrets.randbelow(10**9))

    @property
    def dockerfile(self) -> str:
        """The Dockerfile of an app whose build sleeps."""
        return building(("sleep", str(self.seconds)))

    def sleepers(self) -> list[int]:
        """Give the process ids of the sleeping builds."""
        asleep = ("/web", "sleep", str(self.seconds))
        return [process.pid for process in processes() if process.arguments == asleep]

    def wake(self) -> None:
        """Wake the sleeping builds; a build that has only just begun to sleep may miss it."""
        for pid in self.sleepers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)


@dataclass
class Project:
    """One app of a repository of its own."""

    keystone: Keystone
    name: str
    repo: Repo
    github_id: int
    port: int
    secret: str
    pushed: str = NO_COMMIT  # the last commit in a delivery
    pushed_at: int = field(default_factory=lambda: int(time.time()) - 100_000)

    @property
    def full_name(self) -> str:
        """The repository's name on GitHub."""
        return f"octo/{self.name}"

    def commit(
        self,
        version: str,
        *,
        behaviour: str = "",
        dockerfile: str | None = None,
        message: str = "Change something",
    ) -> str:
        """Commit a version of the app, and give the SHA; `tests.images` describes the arguments."""
        files = app_files(version, behaviour=behaviour, dockerfile=dockerfile)
        return self.repo.commit({**files, "web": Executable(web_binary())}, message=message)

    def payload(self, sha: str, **changes: Any) -> PushPayload:  # noqa: ANN401 — its own fields
        """Give GitHub's description of the next push, a second later than the previous one."""
        self.pushed_at += 1
        payload = PushPayload(
            repository_id=self.github_id,
            full_name=self.full_name,
            after=sha,
            before=self.pushed,
            pushed_at=self.pushed_at,
        )
        self.pushed = sha
        return replace(payload, **changes)

    def delivery(self, payload: PushPayload, *, content_type: str = JSON) -> Delivery:
        """Sign a payload with the repository's secret."""
        body = encoded(payload.to_json(), content_type)
        return Delivery(body, self.secret, content_type=content_type)

    def send(self, payload: PushPayload) -> httpx2.Response:
        """Deliver a payload."""
        return self.keystone.deliver(self.delivery(payload))

    def push(self, sha: str) -> Json:
        """Deliver the push of a commit, which must be queued, and give its deployment."""
        answer = self.send(self.payload(sha))
        assert answer.status_code == httpx2.codes.ACCEPTED, answer.text
        (queued,) = answer.json()["deployments"]
        found: Json = queued
        return found

    def deploy(self, version: str, *, behaviour: str = "", dockerfile: str | None = None) -> Json:
        """Commit and push a version, and give the deployment once it has ended."""
        sha = self.commit(version, behaviour=behaviour, dockerfile=dockerfile)
        return self.keystone.wait_for(self.push(sha)["id"])

    def answer(self, path: str = "/version") -> str:
        """Send a request to the app's public port."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with httpx2.Client(timeout=ANSWER_WITHIN_S, trust_env=False) as client:
            return client.get(url).text

    def tell(self, path: str) -> str:
        """Send a POST request, which the router never repeats, to the app's public port."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with httpx2.Client(timeout=ANSWER_WITHIN_S, trust_env=False) as client:
            return client.post(url).text

    def answers(self, *versions: str) -> bool:
        """Whether one of these versions answers now; False while the router is not up."""
        with suppress(httpx2.TransportError):
            return self.answer() in versions
        return False

    def view(self) -> Json:
        """Give the app as the API describes it."""
        found: Json = self.keystone.api("GET", f"/api/apps/{self.name}")
        return found


def add_project(keystone: Keystone, server: GitServer, name: str, **settings: object) -> Project:
    """Make a private repository and its app, whose health path is `/health` by default."""
    repo = server.repository(f"octo/{name}")
    app = keystone.api(
        "POST",
        "/api/apps",
        {
            "name": name,
            "repository": f"octo/{name}",
            "git_url": repo.url,
            "token": server.token,
            "health_path": "/health",
            **settings,
        },
    )
    return Project(
        keystone,
        name,
        repo,
        github_id=_FIRST_GITHUB_ID + app["id"],
        port=app["host_port"],
        secret=app["webhook"]["secret"],
    )
