"""/api/apps/{app}/releases and /rollback: earlier releases, and rolling back to them."""

from starlette.responses import Response

from jobs.reads.apps import find_app
from jobs.reads.deployments import deployment_view
from jobs.reads.releases import release_views
from jobs.reads.views import DeploymentView, Page, ReleaseView
from jobs.records.rollbacks import roll_back
from jobs.states import Role
from receiver.routing import Call, Endpoints, Nothing, json_response
from receiver.schemas import RollbackInput

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/apps/{app}/releases", needs=Role.VIEWER)
def list_releases(call: Call[Nothing]) -> Page[ReleaseView]:
    """List the releases that were live once, newest first, and say which allow a rollback."""
    with call.reading() as session:
        app = find_app(session, call.name())
        return Page[ReleaseView](items=release_views(session, app))


@ENDPOINTS.add(
    "POST",
    "/api/apps/{app}/rollback",
    needs=Role.DEPLOYER,
    gives=DeploymentView,
    status=202,
    errors=(409,),
)
def request_rollback(call: Call[RollbackInput]) -> Response:
    """Start an earlier release again, as it was, and pause auto-deploy.

    With `after`, a repeated request makes only one deployment.
    """
    with call.writing() as session:
        app = find_app(session, call.name())
        given = call.given
        deployment = roll_back(session, app, given.release, call.actor, after=given.after)
        view = deployment_view(session, deployment.id or 0)
    return json_response(
        view,
        202,
        after=call.waking(view),
        headers={"location": f"/api/deployments/{view.id}"},
    )
