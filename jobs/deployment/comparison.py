"""The live commit, which a push is compared with in the paths that the app watches."""

from dataclasses import dataclass

from sqlmodel import Session

from jobs.rules.refs import BRANCH_PREFIX
from jobs.states import PUSHES, ContainerState, DeploymentState
from jobs.storage.models import App, Deployment, Release


@dataclass(frozen=True)
class Comparison:
    """The live release, which a push leaves in place if it changes nothing that is watched."""

    commit_sha: str
    release: int  # its number
    patterns: tuple[str, ...]


def read_comparison(session: Session, app: App, deployment: Deployment) -> Comparison | None:
    """Give what a deployment is compared with; None if it is deployed in any case.

    That is so unless a branch was pushed, and the live release is running with the app's present
    configuration. A person's request and a tag always deploy.
    """
    patterns = app.push_rules.watch_paths
    is_of_branch = deployment.ref.startswith(BRANCH_PREFIX)
    if not patterns or deployment.trigger not in PUSHES or not is_of_branch:
        return None
    live = session.get(Deployment, app.live_deployment_id) if app.live_deployment_id else None
    release = session.get(Release, app.live_release_id) if app.live_release_id else None
    if live is None or release is None or live.state is not DeploymentState.SUCCESS:
        return None
    is_current = release.configuration == app.configuration
    if not is_current or app.container_state is not ContainerState.RUNNING:
        return None
    return Comparison(release.commit_sha, release.number, patterns)
