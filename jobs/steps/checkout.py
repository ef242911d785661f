"""checkout: have the exact commit in the mirror, and make sure it is still the one to deploy."""

from sqlmodel import Session

from jobs.adapters.ports import Commit
from jobs.claims import Rival
from jobs.errors import SupersededError
from jobs.models import Deployment
from jobs.records.deployments import Grip, hold, record_commit, supersede
from jobs.states import DeploymentState, StepName
from jobs.triggers import short_ref
from jobs.work import Work

STEP = StepName.CHECKOUT


def checkout(work: Work) -> Commit:
    """Fetch the commit and write down what it is.

    Raises:
        CheckoutError: it cannot be had.
        SupersededError: the branch has moved on to a push that is known already.
        GitError: the git server does not answer.
    """
    plan = work.plan
    if work.claim.rivals:
        _ask_the_branch(work)
    sha = work.tools.source.fetch(
        plan.remote, ref=plan.ref, sha=plan.commit_sha or None, stop=work.stop
    )
    commit = work.tools.source.commit(plan.remote, sha)
    work.record(record_commit, sha=sha, message=commit.message, author=commit.author)
    subject = commit.message.partition("\n")[0]
    work.say(STEP, f"commit {sha} of {short_ref(plan.ref)}: {subject}")
    return commit


def _ask_the_branch(work: Work) -> None:
    """Settle the order of pushes that GitHub's clock could not tell apart."""
    plan = work.plan
    head = work.tools.source.head(plan.remote, ref=plan.ref, stop=work.stop)
    if head != plan.commit_sha:
        for rival in work.claim.rivals:
            if rival.commit_sha == head:
                raise SupersededError(f"{short_ref(plan.ref)} has moved on to #{rival.number}")
    # The branch says that this is the newest, or nothing about any of them; then what arrived last
    # is taken for the newest.
    work.record(_supersede_rivals, work.claim.rivals, plan.number)


def _supersede_rivals(session: Session, grip: Grip, rivals: tuple[Rival, ...], number: int) -> None:
    hold(session, grip)
    for rival in rivals:
        row = session.get_one(Deployment, rival.deployment_id)
        if row.state is DeploymentState.QUEUED:
            supersede(session, row, f"#{number} is a newer push")
