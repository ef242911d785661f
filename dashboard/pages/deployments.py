"""The page of one deployment: its state, its steps and its log."""

from typing import Any

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from dashboard import commits, labels, log_lines, page_reads, rendering
from dashboard.build_steps import draw_build
from dashboard.timeline import timeline
from jobs.errors import NotFoundError
from jobs.reads import apps, deployments
from jobs.reads.log_outline import Outline, Outlines
from jobs.reads.views import AppView, DeploymentView
from jobs.states import DeploymentState, Kind, StepName, StepState
from jobs.storage.deployment_log import log_path
from jobs.storage.models import now

FAILED = frozenset({DeploymentState.FAILURE, DeploymentState.ERROR})
CANCELLING = labels.Look("Being cancelled", labels.Tone.WARN, labels.Shape.SPIN)
NEXT_OFFSET = "X-Next-Offset"
LONGEST_SEARCH = 200
MOST_MATCHES = 5000


def show(request: Request) -> Response:
    """Show the deployment of the address; `?lines=0` leaves its log out.

    Raises:
        NotFoundError: there is no deployment with that id.
    """
    settings = rendering.settings_of(request)
    with rendering.database_of(request).reading() as session:
        deployment = deployments.deployment_view(session, _wanted(request))
        app = apps.app_view(session, deployment.app, settings)
        last_number = apps.find_app(session, deployment.app).last_deployment
        maker = maker_of(session, deployment, app.id)
        base = commits.commit_before(session, app.id, deployment)
    outline = _outline(request)
    api_url = settings.github_api_url
    return rendering.render(
        request,
        "deployment.html",
        app=app,
        deployment=deployment,
        last_number=last_number,
        stages=timeline(deployment, outline.view().sections, now()),
        build=draw_build(outline.view().build),
        maker=maker,
        links=commits.commit_links(app.git_url, api_url, deployment.commit_sha, base),
        **_log(request, deployment, outline),
        **_words(app, deployment),
    )


def show_lines(request: Request) -> Response:
    """Give lines of the log from `?first=` on, at most `?most=` of them, as HTML.

    `X-Next-Offset` is the offset in bytes at which the log ends; 0 when more lines follow.

    Raises:
        NotFoundError: there is no deployment with that id.
    """
    outline = _found_outline(request)
    found = outline.view()
    first, most = (_number(request, name) for name in ("first", "most"))
    lines = log_lines.read_lines(outline, max(first, 1), most or log_lines.MOST_LINES)
    is_end = not lines or lines[-1].number >= found.lines
    html = log_lines.draw(lines, found.sections)
    headers = {NEXT_OFFSET: str(found.size if is_end else 0)}
    return HTMLResponse(html, headers={**rendering.HEADERS, **headers, "Cache-Control": "no-store"})


def find_text(request: Request) -> Response:
    """Find the lines of the log that contain `?text=`: their number, and the first line numbers.

    Raises:
        NotFoundError: there is no deployment with that id.
    """
    outline, text = _found_outline(request), request.query_params.get("text", "")
    total, lines = 0, list[int]()
    if outline.lines and text and len(text) <= LONGEST_SEARCH:
        total, lines = outline.find(text, most=MOST_MATCHES)
    headers = {**rendering.HEADERS, "Cache-Control": "no-store"}
    return JSONResponse({"total": total, "lines": lines}, headers=headers)


def maker_of(session: Session, deployment: DeploymentView, app_id: int) -> page_reads.Maker | None:
    """Give the deployment that made the release to which a rollback went back."""
    if deployment.kind is not Kind.ROLLBACK or deployment.release is None:
        return None
    return page_reads.maker_of(session, app_id, deployment.release)


def is_done(deployment: DeploymentView) -> bool:
    """Whether all steps have ended: the old release retires after the deployment's success."""
    running = any(step.state is StepState.RUNNING for step in deployment.steps)
    return deployment.state.is_over and not running


def is_withdrawn(deployment: DeploymentView) -> bool:
    """Whether the deployment failed after it had gone live: its container did not stay up."""
    switched = any(
        step.name is StepName.SWITCH and step.state is StepState.SUCCESS
        for step in deployment.steps
    )
    return switched and deployment.state is DeploymentState.FAILURE


def _words(app: AppView, deployment: DeploymentView) -> dict[str, Any]:
    is_cancelling = bool(deployment.cancelled_by) and not deployment.state.is_over
    look = CANCELLING if is_cancelling else labels.DEPLOYMENT_LOOKS[deployment.state]
    return {
        "title": f"{app.name} #{deployment.number}: {look.word.lower()}",
        "tone": look.tone,
        "look": look,
        "cancelling": is_cancelling,
        "failed": deployment.state in FAILED,
        "withdrawn": is_withdrawn(deployment),
        "done": is_done(deployment),
    }


def _log(request: Request, deployment: DeploymentView, outline: Outline) -> dict[str, Any]:
    # Show the end of the log of a failed or a running deployment, the beginning of any other.
    from_end = deployment.state in FAILED or not is_done(deployment)
    without = request.query_params.get("lines") == "0"
    log = log_lines.EMPTY if without else log_lines.read_transcript(outline, from_end=from_end)
    last_lines = log_lines.excerpt(outline) if deployment.state in FAILED else []
    return {"log": log, "excerpt": last_lines}


def _found_outline(request: Request) -> Outline:
    with rendering.database_of(request).reading() as session:
        deployments.find_deployment(session, _wanted(request))
    return _outline(request)


def _outline(request: Request) -> Outline:
    # Read the log after the rows: the page follows the log from where this read ends.
    outlines: Outlines = request.app.state.outlines
    return outlines.of(log_path(rendering.settings_of(request).logs_dir, _wanted(request)))


def _wanted(request: Request) -> int:
    wanted: int = request.path_params["id"]
    if wanted > rendering.LARGEST_ID:
        raise NotFoundError(f"there is no deployment with the id {wanted}")
    return wanted


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    return int(text) if rendering.is_id(text) else 0
