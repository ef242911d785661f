"""Links to a deployment's commit and its changes, for repositories on GitHub only.

The links are made of validated parts, since a repository's URL may be anything that git can fetch.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlmodel import Session, col, select

from jobs.reads.views import DeploymentView
from jobs.rules.naming import github_address
from jobs.rules.refs import is_sha
from jobs.states import DeploymentState
from jobs.storage.models import Deployment

REPOSITORY = re.compile(r"/([A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}?)(?:\.git)?/?")


@dataclass(frozen=True)
class CommitLinks:
    """The links to two pages on GitHub; None where there is no such page."""

    commit: str | None = None
    compare: str | None = None
    base: str = ""  # the commit that was live before, the base of the comparison


def commit_links(git_url: str, api_url: str, sha: str, base: str) -> CommitLinks:
    """Give the links of a commit.

    Args:
        api_url: the GitHub API in use, which determines GitHub's host.
        base: the commit to compare with; empty for none.
    """
    address = repository_address(git_url, api_url)
    if address is None or not is_sha(sha):
        return CommitLinks()
    can_compare = is_sha(base) and base != sha
    compare = f"{address}/compare/{base}...{sha}" if can_compare else None
    return CommitLinks(f"{address}/commit/{sha}", compare, base if can_compare else "")


def repository_address(git_url: str, api_url: str) -> str | None:
    """Give the address of a repository's page; None if it is not on the GitHub in use."""
    parts = urlsplit(git_url)
    path = REPOSITORY.fullmatch(parts.path)
    is_github = parts.scheme == "https" and parts.netloc == github_address(api_url)
    return f"https://{parts.netloc}/{path[1]}" if is_github and path else None


def commit_before(session: Session, app_id: int, deployment: DeploymentView) -> str:
    """Give the commit of the last successful deployment before one; empty if there is none."""
    statement = (
        select(Deployment.commit_sha)
        .where(
            Deployment.app_id == app_id,
            col(Deployment.id) < deployment.id,
            Deployment.state == DeploymentState.SUCCESS,
            col(Deployment.release_id).is_not(None),
        )
        .order_by(col(Deployment.id).desc())
        .limit(1)
    )
    return session.exec(statement).first() or ""
