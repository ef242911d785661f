"""`keystone webhook-secret`: change the secret of a webhook without losing deliveries."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Annotated, TypeVar

import typer
from pydantic import SecretStr
from sqlmodel import Session

from jobs.cli.console import (
    AsJson,
    actor,
    ask_secret,
    open_to_change,
    open_to_read,
    show_done,
    show_facts,
    show_json,
    warn_of_webhook,
)
from jobs.cli.output import say
from jobs.processes.runtime import Runtime
from jobs.reads.apps import find_app, webhook_problem, webhook_url
from jobs.reads.repositories import find_repository_id, repository_view
from jobs.reads.views import NewWebhookSecretView, RepositoryView, WebhookSecretView
from jobs.records.repositories import (
    drop_webhook_secrets,
    find_repository,
    finish_webhook_rotation,
    rotate_webhook_secret,
)
from jobs.rules.actors import Actor
from jobs.settings import AllSettings
from jobs.storage.models import Repository

Made = TypeVar("Made")

commands = typer.Typer(rich_markup_mode=None)
webhook_secret = typer.Typer(no_args_is_help=True)
commands.add_typer(
    webhook_secret, name="webhook-secret", help="Change the secret GitHub signs pushes with."
)

Whose = Annotated[
    str, typer.Argument(metavar="APP|OWNER/REPOSITORY", help="An app, or its repository.")
]
OverlapHours = Annotated[
    int,
    typer.Option(
        min=0,
        max=720,
        metavar="HOURS",
        help="How long older secrets stay valid; 0: not at all, if somebody else knows them.",
    ),
]


@webhook_secret.command("rotate")
def rotate(whose: Whose, *, overlap_hours: OverlapHours = 24, as_json: AsJson = False) -> None:
    """Make a new secret and show it once; older secrets stay valid for a while."""
    keystone = open_to_change()
    secret, view = _rotated(keystone, whose, overlap_hours)
    made = NewWebhookSecretView(
        url=webhook_url(keystone.settings),
        secret=secret.get_secret_value(),
        previous_until=view.webhook_secret.previous_until,
    )
    if as_json:
        show_json(made)
        return
    say(f"Put it into the webhook at https://github.com/{view.full_name}/settings/hooks:")
    show_facts([("  Payload URL", made.url), ("  Secret", made.secret)])
    warn_of_webhook(webhook_problem(keystone.settings))
    say(f"The secret is not shown again. {_about_older(view.webhook_secret)}")


@webhook_secret.command("set")
def change(whose: Whose, *, overlap_hours: OverlapHours = 24, as_json: AsJson = False) -> None:
    """Set a secret of your own, read from standard input or a prompt."""
    keystone = open_to_change()
    secret = ask_secret("webhook secret", confirm=True)
    _, view = _rotated(keystone, whose, overlap_hours, secret)
    told = f"{view.full_name} has it. {_about_older(view.webhook_secret)}"
    show_done(told, view.webhook_secret, as_json=as_json)


@webhook_secret.command("finish")
def finish(whose: Whose, *, as_json: AsJson = False) -> None:
    """Invalidate older secrets now; use it once GitHub signs with the new one."""
    _, view = _changed(open_to_change(), whose, finish_webhook_rotation)
    told = f"Only the newest webhook secret of {view.full_name} verifies now."
    show_done(told, view.webhook_secret, as_json=as_json)


@webhook_secret.command("drop")
def drop(whose: Whose, *, as_json: AsJson = False) -> None:
    """Remove the repository's own secrets, and use KEYSTONE_WEBHOOK_SECRET from then on."""
    keystone = open_to_change()
    drop_own = partial(drop_webhook_secrets, fallback=keystone.settings.webhook_secret)
    _, view = _changed(keystone, whose, drop_own)
    told = f"Only KEYSTONE_WEBHOOK_SECRET verifies deliveries of {view.full_name} now."
    show_done(told, view.webhook_secret, as_json=as_json)


@webhook_secret.command("show")
def show(whose: Whose, *, as_json: AsJson = False) -> None:
    """Show when the secret was set, and until when an older one is valid; never the secret."""
    with open_to_read().database.reading() as session:
        view = repository_view(session, _id(session, whose))
    if as_json:
        show_json(view.webhook_secret)
        return
    told = view.webhook_secret
    show_facts(
        [
            ("repository", view.full_name),
            ("set", told.since or "no: KEYSTONE_WEBHOOK_SECRET is used"),
            ("older one until", told.previous_until or "-"),
        ]
    )


def _rotated(
    keystone: Runtime[AllSettings], whose: str, overlap_hours: int, own: SecretStr | None = None
) -> tuple[SecretStr, RepositoryView]:
    overlap = timedelta(hours=overlap_hours)
    add_newer = partial(rotate_webhook_secret, vault=keystone.vault, overlap=overlap, own=own)
    return _changed(keystone, whose, add_newer)


def _changed(
    keystone: Runtime[AllSettings],
    whose: str,
    change: Callable[[Session, Repository, Actor], Made],
) -> tuple[Made, RepositoryView]:
    """Change a repository's secrets; return the result of the change, and the new view."""
    with keystone.database.writing() as session:
        repository = find_repository(session, _id(session, whose))
        made = change(session, repository, actor())
        session.flush()
        return made, repository_view(session, repository.id or 0)


def _about_older(told: WebhookSecretView) -> str:
    if told.previous_until is None:
        return "Older ones verify nothing any more."
    return (
        f"Older ones verify until {told.previous_until.astimezone():%Y-%m-%d %H:%M}, "
        "or `keystone webhook-secret finish`."
    )


def _id(session: Session, whose: str) -> int:
    if "/" in whose:
        return find_repository_id(session, whose)
    return find_app(session, whose).repository_id
