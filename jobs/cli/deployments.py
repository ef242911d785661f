"""`keystone deploy`, `cancel`, `status` and `logs`: start, stop and watch deployments."""

from typing import Annotated

import typer

from jobs.cli.apps import show_app, show_apps
from jobs.cli.console import (
    AsJson,
    actor,
    open_to_change,
    open_to_read,
    show_json,
    show_table,
)
from jobs.cli.following import follow, print_log, set_going, show_output
from jobs.cli.output import say
from jobs.errors import NotFoundError
from jobs.processes.runtime import Runtime
from jobs.reads.apps import app_view, app_views, find_app
from jobs.reads.deployments import (
    DeploymentFilter,
    deployment_page,
    deployment_view,
    find_deployment,
)
from jobs.reads.views import AppView, DeploymentView, Page
from jobs.records.deployments import cancel
from jobs.records.requests import Request, request
from jobs.rules.app_fields import parse_ref
from jobs.rules.refs import is_sha
from jobs.rules.triggers import default_ref
from jobs.settings import AllSettings
from jobs.states import DeploymentState, Trigger

commands = typer.Typer(rich_markup_mode=None)

AppName = Annotated[str, typer.Argument(metavar="APP", help="The app's name.")]
NEWEST_SHOWN = 10


@commands.command()
def deploy(
    app: AppName,
    *,
    ref: Annotated[
        str | None,
        typer.Option(
            help="A branch, a full ref or a whole commit id; default: the app's branch, or its "
            "newest tag if only tags deploy it."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the log; exit 0 if live.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deploy an app now.

    With --wait the log is shown until the deployment is over. The exit code is then 0 if it is
    live, else 1.
    """
    keystone = open_to_change()
    with keystone.database.writing() as session:
        found = find_app(session, app)
        wanted = manual_request(ref or default_ref(found.branch, found.push_rules.deploy_on))
        made = request(session, found, wanted, actor())
        view = deployment_view(session, made.id or 0)
    told = f"Deployment #{view.number} of {app} is queued; `keystone logs {view.id} -f`"
    set_going(keystone, view, told, wait=wait, as_json=as_json)


def manual_request(ref: str) -> Request:
    """Make a request from a branch, a full ref or a whole commit id.

    Raises:
        ConfigurationError: git allows no such ref, or it is ambiguous.
    """
    full = parse_ref(ref)
    return Request(Trigger.MANUAL, full, commit_sha=full if is_sha(full) else "")


@commands.command("cancel")
def cancel_deployment(
    deployment: Annotated[int, typer.Argument(metavar="ID", help="The deployment's id.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Cancel a deployment that is queued or running."""
    with open_to_change().database.writing() as session:
        cancel(session, find_deployment(session, deployment), actor())
        session.flush()
        view = deployment_view(session, deployment)
    if as_json:
        show_json(view)
    elif view.state is DeploymentState.CANCELLED:
        say(f"Deployment {deployment} is cancelled.")
    else:
        say(f"Deployment {deployment} is being stopped.")


@commands.command()
def status(
    app: Annotated[str | None, typer.Argument(metavar="[APP]", help="The app's name.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the state of all apps, or one app and its deployments."""
    keystone = open_to_read()
    if app is not None:
        _one_app(keystone, app, as_json=as_json)
        return
    with keystone.database.reading() as session:
        views = app_views(session, keystone.settings)
    if as_json:
        show_json(Page[AppView](items=views))
    else:
        show_apps(views)


def _one_app(keystone: Runtime[AllSettings], app: str, *, as_json: bool) -> None:
    with keystone.database.reading() as session:
        view = app_view(session, app, keystone.settings)
        newest = deployment_page(session, DeploymentFilter(app=app, limit=NEWEST_SHOWN))
    if as_json:
        show_json(view)
        return
    show_app(view)
    say()
    show_table(
        ("Id", "Deployment", "State", "Trigger", "Commit", "By", "Queued", "Took", ""),
        [_row(deployment) for deployment in newest.items],
        empty=f"{app} was never deployed; `keystone deploy {app}` does it.",
    )


def _row(view: DeploymentView) -> tuple[object, ...]:
    took = None if view.duration_s is None else f"{view.duration_s:.1f} s"
    waits = f"waits: {view.waiting_for}" if view.waiting_for else ""
    return (
        view.id,
        f"#{view.number}",
        view.state,
        view.trigger,
        view.commit_sha[:8] or None,
        view.actor,
        view.queued_at,
        took,
        "; ".join(filter(None, (view.reason.partition("\n")[0], waits))),
    )


@commands.command()
def logs(
    of: Annotated[
        str,
        typer.Argument(
            metavar="APP|DEPLOYMENT", help="An app, for its output; a deployment's id, for its log."
        ),
    ],
    *,
    following: Annotated[
        bool, typer.Option("-f", "--follow", help="Keep printing as more is written.")
    ] = False,
    tail: Annotated[int, typer.Option(min=1, max=5000, help="Lines of an app's output.")] = 200,
) -> None:
    """Show an app's output, or the log of a deployment.

    For an app that was never live, the log of its newest deployment is shown.
    """
    keystone = open_to_read()
    deployment = int(of) if of.isdecimal() else _newest_unless_live(keystone, of)
    if deployment is None:
        show_output(keystone, of, tail=tail, following=following)
    elif following:
        follow(keystone, deployment)
    else:
        print_log(keystone, deployment)


def _newest_unless_live(keystone: Runtime[AllSettings], name: str) -> int | None:
    with keystone.database.reading() as session:
        app = find_app(session, name)
        page = deployment_page(session, DeploymentFilter(app=name, limit=1))
    if app.live_container_id is not None:
        return None
    if not page.items:
        raise NotFoundError(f"{name} was never deployed; `keystone deploy {name}` does it")
    return page.items[0].id
