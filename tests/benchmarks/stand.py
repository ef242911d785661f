"""The set-up of every benchmark: a running Keystone, a git server and a recording GitHub."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.project import Project, add_project
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer

TOKEN = "ghp_Benchmark0Token1With2Thirty3Six4Chars0"


@dataclass(frozen=True)
class Stand:
    """A Keystone with its git server and GitHub."""

    folder: Path
    keystone: Keystone
    server: GitServer
    github: GitHubApi

    def project(self, name: str, **settings: object) -> Project:
        """Add an app of a public repository that GitHub knows."""
        project = add_project(self.keystone, self.server, name, **{"token": TOKEN, **settings})
        self.github.know(project.full_name, project.github_id)
        return project

    def wait_for_retired(self, deployment_id: int, *, timeout: float = 120) -> Json:
        """Wait until a deployment has ended and cleaned up, and give it."""
        over = self.keystone.wait_for(deployment_id, timeout=timeout)

        def has_ended() -> bool:
            steps = self.keystone.deployment(deployment_id)["steps"]
            return all(step["ended_at"] for step in steps) and (
                over["state"] != "success" or steps[-1]["name"] == "retire"
            )

        until(has_ended, timeout=timeout, what=f"deployment {deployment_id} has cleared away")
        return self.keystone.deployment(deployment_id)


@contextmanager
def standing(*, by_router: bool = False, program: Path | None = None) -> Iterator[Stand]:
    """Run a Keystone for the length of the block, and remove all of it afterwards.

    Args:
        by_router: whether the router serves Keystone's own address too.
        program: the program `keystone`; None: that of this environment.
    """
    with tempfile.TemporaryDirectory(prefix="keystone-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("git", "up"):
            (folder / part).mkdir()
        with (
            GitServer(folder / "git") as server,
            GitHubApi(token=TOKEN) as github,
            Keystone(
                folder / "up", github_api_url=github.url, by_router=by_router, program=program
            ) as keystone,
        ):
            yield Stand(folder, keystone, server, github)
