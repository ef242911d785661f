"""checkout: fetch the exact commit into the mirror, and check that it is still the newest."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlmodel import Session

from jobs.deployment.claims import Rival
from jobs.deployment.work import Work
from jobs.errors import RepositoryDeniedError, SupersededError
from jobs.records.deployments import HeldLease, ensure_lease, record_commit, supersede
from jobs.records.repositories import note_token_refused, note_token_works
from jobs.rules.repository_values import Commit
from jobs.rules.triggers import short_ref
from jobs.states import DeploymentState, StepName
from jobs.steps.newest_tag import resolved_ref
from jobs.storage.models import Deployment, TokenUse

STEP = StepName.CHECKOUT


def checkout(work: Work) -> Commit:
    """Fetch the commit, and record its id, message and author.

    Raises:
        CheckoutError: the commit cannot be fetched.
        SupersededError: the branch has moved on to another known push.
        GitError: the git server does not answer.
    """
    plan = work.plan
    with _token_watched(work):
        if work.claim.rivals:
            _ask_the_branch(work)
        ref = resolved_ref(work)
        sha = work.tools.source.fetch(
            plan.remote, ref=ref, sha=plan.commit_sha or None, stop=work.stop
        )
    commit = work.tools.source.commit(plan.remote, sha)
    work.record(_record, commit, plan.remote.repository_id)
    subject = commit.message.partition("\n")[0]
    work.say(STEP, f"commit {sha} of {short_ref(ref)}: {subject}")
    return commit


def _record(session: Session, held: HeldLease, commit: Commit, repository_id: int) -> None:
    record_commit(session, held, sha=commit.sha, message=commit.message, author=commit.author)
    note_token_works(session, repository_id, TokenUse.FETCH)


@contextmanager
def _token_watched(work: Work) -> Iterator[None]:
    """Record at the repository when the git server refuses its token."""
    try:
        yield
    except RepositoryDeniedError as exc:
        work.record(_record_refusal, work.plan.remote.repository_id, work.log.redact(str(exc)))
        raise


def _record_refusal(session: Session, held: HeldLease, repository_id: int, problem: str) -> None:
    ensure_lease(session, held)
    note_token_refused(session, repository_id, TokenUse.FETCH, problem)


def _ask_the_branch(work: Work) -> None:
    """Order the pushes that GitHub's timestamps could not tell apart, by the branch's head."""
    plan = work.plan
    head = work.tools.source.head(plan.remote, ref=plan.ref, stop=work.stop)
    if head != plan.commit_sha:
        for rival in work.claim.rivals:
            if rival.commit_sha == head:
                raise SupersededError(f"{short_ref(plan.ref)} has moved on to #{rival.number}")
    # The head is our commit, or none of the rivals'. In the latter case this push counts as the
    # newest, because it arrived last.
    work.record(_supersede_rivals, work.claim.rivals, plan.number)


def _supersede_rivals(
    session: Session, held: HeldLease, rivals: tuple[Rival, ...], number: int
) -> None:
    ensure_lease(session, held)
    for rival in rivals:
        row = session.get_one(Deployment, rival.deployment_id)
        if row.state is DeploymentState.QUEUED:
            supersede(session, row, f"#{number} is a newer push")
