"""One app: how it stands, its history, how it is configured, what GitHub sent for it."""

from starlette.requests import Request
from starlette.responses import Response

from dashboard import labels, pages, reads
from dashboard.views.overview import history_chart
from jobs import queries

PAGE = 20
RECENT_DELIVERIES = 5
CHART_HEIGHT = 56


def show(request: Request) -> Response:
    """Show the app of the address.

    Raises:
        NotFoundError: there is none of that name.
    """
    name, before = request.path_params["app"], pages.cursor_of(request)
    wanted = queries.DeploymentFilter(app=name, limit=PAGE, before=before)
    with pages.database_of(request).reading() as session:
        app = queries.app_view(session, name, pages.settings_of(request))
        history = queries.deployment_page(session, wanted)
        deliveries = queries.delivery_page(
            session, limit=RECENT_DELIVERIES, repository_id=app.repository_id
        )
        names = reads.deployment_names(
            session, {found for row in deliveries.items for found in row.deployments}
        )
        live = reads.live_commits(session).get(app.id)
        work = reads.work_now(session).get(app.id)
        recent = reads.recent_deployments(session, app.id).get(app.id, [])
    look = labels.APP_LOOKS[app.state]
    return pages.render(
        request,
        "app.html",
        title=f"{app.name}: {look.word.lower()}",
        tone=look.tone,
        app=app,
        look=look,
        live=live,
        work=work,
        history=history,
        before=before,
        chart=history_chart(recent, height=CHART_HEIGHT, app=app.name),
        deliveries=deliveries.items,
        names=names,
    )
