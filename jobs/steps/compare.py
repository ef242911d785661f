"""Part of checkout: does a push change anything that the app watches, compared with what is live?

The list of paths in a push's payload says what its commits touched. They may undo each other, and a
force-push has no such list. The trees of the two commits tell.
"""

from jobs.deployment.work import Work
from jobs.errors import GitError, UnchangedError
from jobs.rules.repository_values import Commit
from jobs.rules.triggers import touches
from jobs.states import StepName


def ensure_changed(work: Work, commit: Commit) -> None:
    """Check that the commit differs from the live one in a watched path; in doubt it does.

    Raises:
        UnchangedError: it does not.
    """
    live = work.plan.compared
    if live is None:
        return
    try:
        paths = work.tools.source.changed(work.plan.remote, live.commit_sha, commit.sha)
    except GitError as exc:
        work.say(StepName.CHECKOUT, f"not compared with v{live.release}: {exc}")
        return
    if not touches(paths, live.patterns):
        raise UnchangedError(
            f"nothing to do: v{live.release} is live, and {work.plan.app} watches nothing in which "
            f"{commit.sha[:7]} differs from it ({live.commit_sha[:7]})"
        )
