"""The steps of a deployment: from a commit to a serving container, with the old one retired.

No step before the switch touches the serving container: on any failure the old release keeps
serving. The switch makes the deployment a success; a later failure does not change that.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from jobs.adapters.ports import Engine
from jobs.deployment.plan import Candidate
from jobs.deployment.work import Work
from jobs.errors import (
    CancelledError,
    DeploymentError,
    HandedOverError,
    InvalidTransitionError,
    KeystoneError,
    LeaseLostError,
    PlatformError,
    StorageError,
    SupersededError,
    UnchangedError,
)
from jobs.records.deployments import finish, hand_back
from jobs.records.engine_items import on_record
from jobs.rules.naming import DEPLOYMENT_LABEL
from jobs.rules.reasons import shown_reason
from jobs.rules.repository_values import Commit
from jobs.states import DeploymentState, StepName, StepState
from jobs.steps.build import BuiltImage, build
from jobs.steps.checkout import checkout
from jobs.steps.compare import ensure_changed
from jobs.steps.health_check import check_health
from jobs.steps.left_out import left_out_of_commit_is_told
from jobs.steps.release import make_release
from jobs.steps.retire import retire
from jobs.steps.start import start
from jobs.steps.switch import Serving, switch
from jobs.storage.database import Database

logger = logging.getLogger(__name__)

# How long to retry recording a deployment's end while the database is locked or its disk is full.
RECORDED_WITHIN_S = 30.0
PAUSE_S = 1.0


def deploy(work: Work) -> None:
    """Run a deployment, and record how it ended whatever happens."""
    try:
        serving = bring_live(work)
    except LeaseLostError:
        raise
    except HandedOverError as exc:
        hand_over(work, exc)
    except Exception as exc:
        logger.log(
            logging.INFO if isinstance(exc, KeystoneError) else logging.ERROR,
            "deployment %d of %s did not go live",
            work.plan.deployment_id,
            work.plan.app,
            exc_info=not isinstance(exc, KeystoneError),
            extra={"action": "deployment_ended", "deployment": work.plan.deployment_id},
        )
        give_up(work, exc)
    else:
        clear_away(work, serving)


def bring_live(work: Work) -> Serving:
    """Start a release beside the serving one, and move the traffic to it."""
    earlier = work.plan.earlier
    candidate = from_commit(work) if earlier is None else from_release(work, earlier.candidate)
    with left_out_of_commit_is_told(work, candidate.commit_sha):
        with work.step(StepName.START):
            container = start(work, candidate)
        with work.step(StepName.HEALTH_CHECK):
            check_health(work, container, candidate.container)
    with work.step(StepName.SWITCH):
        return switch(work, candidate, container)


def from_commit(work: Work) -> Candidate:
    """Make a new release of the commit."""
    commit, image = built(work)
    with work.step(StepName.RELEASE):
        return make_release(work, commit, image)


def from_release(work: Work, candidate: Candidate) -> Candidate:
    """Return an earlier release unchanged; rebuild its image only if it was removed."""
    if work.tools.engine.image_id(candidate.image_id) is not None:
        return candidate
    work.say(StepName.CHECKOUT, f"the image of v{candidate.number} is gone: it is built again")
    _, image = built(work)
    return replace(candidate, image_id=image.id)


def built(work: Work) -> tuple[Commit, BuiltImage]:
    """Check out the deployment's commit and build its image on the engine."""
    with work.step(StepName.CHECKOUT):
        commit = checkout(work)
        ensure_changed(work, commit)
    with work.step(StepName.BUILD) as record:
        return commit, build(work, commit, record)


def give_up(work: Work, cause: Exception) -> None:
    """End a deployment that did not go live, and remove everything it made."""
    if work.is_live():
        return  # it committed, but the reply was late; the watcher retires the old release
    state, reason = verdict(cause)
    # The reason may quote the app's output, and more people see it than the log.
    reason = shown_reason(reason, work.log.redact)
    leave_nothing(work, state, reason)
    see_recorded(lambda: work.record(finish, state, reason))


def hand_over(work: Work, cause: HandedOverError) -> None:
    """Undo what this worker did, and put the deployment back into the queue for another worker."""
    leave_nothing(work, DeploymentState.QUEUED, str(cause))
    see_recorded(lambda: work.record(hand_back))


def see_recorded(record: Callable[[], object]) -> None:
    """Write a deployment's last record, with retries: it says why the deployment ended."""
    deadline = time.monotonic() + RECORDED_WITHIN_S
    while True:
        try:
            record()
        except StorageError as exc:
            if time.monotonic() > deadline:
                raise
            logger.warning("%s; it is tried again", exc, extra={"action": "record_failed"})
            time.sleep(PAUSE_S)
        except InvalidTransitionError:
            return  # an earlier attempt was committed, and only the database's reply was lost
        else:
            return


def leave_nothing(work: Work, state: DeploymentState, reason: str) -> None:
    """Log why the deployment ends, and remove any container it started."""
    work.log.write(state, reason)
    work.ensure_ours()
    try:
        remove_containers(work.tools.engine, work.database, work.plan.deployment_id)
    except PlatformError as exc:
        # The watcher removes unowned containers as soon as the engine answers again.
        work.log.write(state, f"the container could not be removed now: {exc}")


def verdict(cause: Exception) -> tuple[DeploymentState, str]:
    """Map the exception that ended a deployment to its final state and a one-sentence reason."""
    match cause:
        case CancelledError():
            return DeploymentState.CANCELLED, str(cause)
        case UnchangedError():
            return DeploymentState.SUCCESS, str(cause)
        case SupersededError():
            return DeploymentState.SUPERSEDED, str(cause)
        case DeploymentError():
            return DeploymentState.FAILURE, str(cause)
        case KeystoneError():
            return DeploymentState.ERROR, str(cause)
        case _:
            name = type(cause).__name__
            return DeploymentState.ERROR, f"Keystone itself failed ({name}); its log has more"


def remove_containers(engine: Engine, database: Database, deployment_id: int) -> None:
    """Remove every container that a deployment made."""
    found = [
        container
        for container in engine.containers()
        if container.labels.get(DEPLOYMENT_LABEL) == str(deployment_id)
    ]
    with database.reading() as session:
        made = on_record(session, found)
    for container in made:
        engine.stop(container.id, grace_s=0)


def clear_away(work: Work, serving: Serving) -> None:
    """Retire the old release; a failure is recorded, but the deployment stays a success."""
    try:
        with work.step(StepName.RETIRE) as record:
            try:
                retire(work, serving)
            except LeaseLostError:
                raise
            except Exception as exc:
                if not isinstance(exc, KeystoneError):
                    logger.exception("retiring failed", extra={"action": "retire_failed"})
                record.state = StepState.ERROR
                record.reason = shown_reason(verdict(exc)[1], work.log.redact)
                work.say(StepName.RETIRE, f"the watcher will finish this: {record.reason}")
        work.settle()
    except LeaseLostError:
        logger.info("deployment %d: another worker retires", work.plan.deployment_id)
