"""/api/deployments: request, list, show and cancel deployments."""

from starlette.responses import Response

from jobs.reads.apps import find_app
from jobs.reads.deployments import (
    DeploymentFilter,
    deployment_page,
    deployment_view,
    find_deployment,
)
from jobs.reads.views import DeploymentView, Page
from jobs.records.deployments import cancel
from jobs.records.once import key_of, request_once
from jobs.records.requests import Request
from jobs.rules.refs import is_sha
from jobs.rules.triggers import default_ref
from jobs.states import Role, Trigger
from receiver.routing import Call, Endpoints, Nothing, json_response
from receiver.schemas import DeployInput, DeploymentQuery

ENDPOINTS = Endpoints()


@ENDPOINTS.add(
    "POST", "/api/apps/{app}/deployments", needs=Role.DEPLOYER, gives=DeploymentView, status=202
)
def request_deployment(call: Call[DeployInput]) -> Response:
    """Queue a deployment of the app's branch or newest tag, or of another ref or commit.

    A commit that is live already is deployed again. With `after`, a repeated request makes only one
    deployment.
    """
    with call.writing() as session:
        app = find_app(session, call.name())
        ref = call.given.ref or default_ref(app.branch, app.push_rules.deploy_on)
        key = key_of(ref, call.given.after)
        wanted = Request(
            Trigger.MANUAL, ref, commit_sha=ref if is_sha(ref) else "", request_key=key
        )
        deployment = request_once(session, app, wanted, call.actor)
        view = deployment_view(session, deployment.id or 0)
    return json_response(
        view,
        202,
        after=call.waking(view),
        headers={"location": f"/api/deployments/{view.id}"},
    )


@ENDPOINTS.add("GET", "/api/deployments", needs=Role.VIEWER, errors=(404,))
def list_deployments(call: Call[DeploymentQuery]) -> Page[DeploymentView]:
    """List deployments, newest first."""
    with call.reading() as session:
        return deployment_page(session, DeploymentFilter(**call.given.model_dump()))


@ENDPOINTS.add("GET", "/api/deployments/{id}", needs=Role.VIEWER)
def show_deployment(call: Call[Nothing]) -> DeploymentView:
    """Describe a deployment: its steps, its times, and the statuses sent to GitHub."""
    with call.reading() as session:
        return deployment_view(session, call.id())


@ENDPOINTS.add(
    "POST", "/api/deployments/{id}/cancel", needs=Role.DEPLOYER, status=202, errors=(409,)
)
def cancel_deployment(call: Call[Nothing]) -> DeploymentView:
    """Cancel a deployment: a queued one at once, a running one as soon as its worker sees it."""
    with call.writing() as session:
        deployment = cancel(session, find_deployment(session, call.id()), call.actor)
        session.flush()
        return deployment_view(session, deployment.id or 0)
