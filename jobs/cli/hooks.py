"""`keystone hook`: install the webhook with which GitHub reports pushes."""

from typing import Annotated

import typer

from jobs.adapters.github.forge import GitHubForge
from jobs.cli.console import AsJson, actor, open_to_change, show_json, warn_of_webhook
from jobs.cli.output import say
from jobs.duties.install_hook import install_hook
from jobs.reads.apps import find_app

commands = typer.Typer(rich_markup_mode=None)
hook = typer.Typer(no_args_is_help=True)
commands.add_typer(hook, name="hook", help="Install the webhook of an app's repository on GitHub.")


@hook.callback()
def about() -> None:
    """Install the webhook of an app's repository on GitHub."""


@hook.command("install")
def install(
    app: Annotated[str, typer.Argument(metavar="APP", help="The app's name.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Create the webhook on GitHub, or correct the existing one: URL, secret, events.

    The repository's token needs Webhooks: read and write (a classic token: admin:repo_hook).
    """
    keystone = open_to_change()
    with keystone.database.reading() as session:
        app_id = find_app(session, app).id or 0
    forge = GitHubForge(keystone.settings.github_api_url)
    view = install_hook(keystone, forge, app_id=app_id, by=actor())
    if as_json:
        show_json(view)
        return
    done = "made" if view.is_new else "there already, and put right"
    say(f"The webhook of {view.repository} is {done}: it sends pushes to {view.url}.")
    warn_of_webhook(view.problem)
