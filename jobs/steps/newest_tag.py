"""Part of checkout: finds the newest tag that the app deploys, when no other ref was asked for."""

from sqlmodel import Session

from jobs.deployment.work import Work
from jobs.errors import CheckoutError
from jobs.records.deployments import HeldLease, ensure_lease
from jobs.rules.newest_tag import newest_tag
from jobs.rules.refs import NEWEST_TAG, TAG_PREFIX
from jobs.storage.models import Deployment


def resolved_ref(work: Work) -> str:
    """Give the deployment's ref, and record it if it was the newest tag, whichever that is.

    Raises:
        CheckoutError: no tag matches, or the repository refuses the token.
        GitError: the git server does not answer.
    """
    plan = work.plan
    if plan.ref != NEWEST_TAG:
        return plan.ref
    name = newest_tag(work.tools.source.tags(plan.remote, stop=work.stop), plan.tags)
    if name is None:
        raise CheckoutError(f"the repository has no tag that matches {plan.tags}; push one first")
    ref = f"{TAG_PREFIX}{name}"
    work.record(_record, ref)
    return ref


def _record(session: Session, held: HeldLease, ref: str) -> None:
    ensure_lease(session, held)
    session.get_one(Deployment, held.deployment_id).ref = ref
