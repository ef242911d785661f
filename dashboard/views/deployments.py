"""One deployment: how it went, step by step, and its log."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dashboard import labels, pages, reads
from dashboard.transcript import Transcript, read_transcript
from jobs import queries
from jobs.errors import NotFoundError
from jobs.logs import log_path
from jobs.models import now
from jobs.states import DeploymentState, Kind, StepName, StepState
from jobs.views import DeploymentView, StepView

FAILED = frozenset({DeploymentState.FAILURE, DeploymentState.ERROR})


@dataclass(frozen=True)
class Stage:
    """One place in the timeline: a step, begun or still ahead."""

    word: str
    look: labels.Look
    step: StepView | None
    seconds: float | None


def show(request: Request) -> Response:
    """Show the deployment of the address; `?lines=0` leaves its log out.

    Raises:
        NotFoundError: there is none with that id.
    """
    wanted, settings = request.path_params["id"], pages.settings_of(request)
    if wanted > pages.LARGEST_ID:
        raise NotFoundError(f"there is no deployment with the id {wanted}")
    with pages.database_of(request).reading() as session:
        deployment = queries.deployment_view(session, wanted)
        app = queries.app_view(session, deployment.app, settings)
        maker = maker_of(session, deployment, app.id)
    # Read after the rows: a log that has grown meanwhile is followed from where it is read to.
    without_log = request.query_params.get("lines") == "0"
    log = Transcript() if without_log else read_transcript(log_path(settings.logs_dir, wanted))
    look = labels.DEPLOYMENT_LOOKS[deployment.state]
    return pages.render(
        request,
        "deployment.html",
        title=f"{deployment.app} #{deployment.number}: {look.word.lower()}",
        tone=look.tone,
        app=app,
        deployment=deployment,
        look=look,
        failed=deployment.state in FAILED,
        stages=stages(deployment),
        done=is_done(deployment),
        maker=maker,
        log=log,
        commit_url=labels.commit_url(app.git_url, deployment.commit_sha),
    )


def maker_of(session: Session, deployment: DeploymentView, app_id: int) -> reads.Maker | None:
    """Give the deployment that made the release which a rollback starts again."""
    if deployment.kind is not Kind.ROLLBACK or deployment.release is None:
        return None
    return reads.maker_of(session, app_id, deployment.release)


def is_done(deployment: DeploymentView) -> bool:
    """Whether nothing more will happen; the old release retires after the new one's success."""
    running = any(step.state is StepState.RUNNING for step in deployment.steps)
    return deployment.state.is_over and not running


def stages(deployment: DeploymentView) -> Sequence[Stage]:
    """Give the timeline: what was begun, and while it goes on, what is still ahead."""
    begun = [_stage(step) for step in deployment.steps]
    if deployment.state.is_over:
        return begun
    order = list(StepName)
    first = StepName.START if deployment.kind is Kind.ROLLBACK else StepName.CHECKOUT
    after = max([order.index(step.name) + 1 for step in deployment.steps] + [order.index(first)])
    ahead = [
        Stage(labels.STEP_WORDS[name], labels.STEP_AHEAD, None, None) for name in order[after:]
    ]
    return [*begun, *ahead]


def _stage(step: StepView) -> Stage:
    seconds = ((step.ended_at or now()) - step.started_at).total_seconds()
    return Stage(labels.STEP_WORDS[step.name], labels.STEP_LOOKS[step.state], step, seconds)
