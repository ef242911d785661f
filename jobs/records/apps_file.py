"""Compares an apps file with the database and applies it, with the records of single commands."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import SecretStr
from sqlmodel import Session, select

from jobs.errors import ConfigurationError, ConflictError, Mistake
from jobs.reads.app_settings import app_settings
from jobs.reads.apps import find_app
from jobs.reads.secrets import repository_token
from jobs.reads.variables import open_variables
from jobs.records.apps import add_app, change_app
from jobs.records.domains import domains_of
from jobs.records.variables import set_variables
from jobs.rules.actors import Actor
from jobs.rules.app_fields import AppChange, AppInput
from jobs.rules.apps_file import APPS, TOKEN, Wanted
from jobs.rules.mistakes import parse_input
from jobs.rules.variables import NewValue, Variable
from jobs.settings import Settings
from jobs.storage.models import App, Repository
from jobs.storage.vault import Vault

SECRET, OTHER_SECRET = "(secret)", "(another secret)"
NONE: Mapping[str, Variable] = {}
# Fields that always have a value: None in the file leaves the choice to Keystone, and so keeps it.
KEPT_WHEN_NONE = frozenset({"host_port", "git_url"})


class Action(StrEnum):
    """The action of applying the file to one app."""

    ADD = "add"
    CHANGE = "change"


@dataclass(frozen=True)
class Difference:
    """The changes to one app by applying the file, with placeholders for secrets.

    Attributes:
        fields: values before and after, by field; before is None for an app that is added.
        variables: the same for environment variables.
    """

    app: str
    action: Action
    fields: Mapping[str, tuple[Any, Any]]
    variables: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Keeper:
    """The context that the records need besides a session."""

    settings: Settings
    vault: Vault
    actor: Actor


def differences(session: Session, wanted: Sequence[Wanted], keeper: Keeper) -> list[Difference]:
    """List the changes; apps and fields that the file does not name stay unchanged.

    Raises:
        ConfigurationError: a new app names no repository.
        ConflictError: the file gives an existing app another repository.
    """
    apps = {app.name: app for app in session.exec(select(App)).all()}
    found = [_difference(session, each, apps.get(each.name), keeper.vault) for each in wanted]
    return [each for each in found if each.fields or each.variables]


@dataclass
class Applied:
    """The results of applying a file.

    Attributes:
        secrets: the webhook secrets of new repositories, by the name of the app that added each.
        notes: side effects, in sentences.
    """

    secrets: dict[str, SecretStr] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def apply_apps(session: Session, wanted: Sequence[Wanted], keeper: Keeper) -> Applied:
    """Change the apps to match the file; apps that already match get no audit event.

    Raises:
        ConfigurationError: like the single commands, with the app's place in the file.
        ConflictError: likewise; the caller must then roll back the transaction.
    """
    by_name = {each.name: each for each in wanted}
    applied = Applied()
    # Apps that get new domains come last: another app of the file may give up the domain first.
    for difference in sorted(differences(session, wanted, keeper), key=_takes_domains):
        with _placed(difference.app):
            _apply_one(session, difference, by_name[difference.app], keeper, applied)
    return applied


# --- What differs ----------------------------------------------------------------------------


def _difference(session: Session, wanted: Wanted, app: App | None, vault: Vault) -> Difference:
    if app is None:
        return _added(wanted)
    repository = session.get_one(Repository, app.repository_id)
    _ensure_same(wanted, repository)
    token = repository_token(session, app.repository_id, vault)
    known = {
        **app_settings(app),
        "domains": domains_of(session, app),
        "git_url": repository.git_url,
        TOKEN: token,
    }
    fields = {
        name: (_shown(known[name]), _shown(value, known[name]))
        for name, value in wanted.fields.items()
        if value != known[name] and not (name in KEPT_WHEN_NONE and value is None)
    }
    before = open_variables(session, app, vault)
    variables = {
        name: (_variable(before.get(name)), _variable(variable, before.get(name)))
        for name, variable in _resolved(wanted.variables, before).items()
        if variable != before.get(name)
    }
    return Difference(wanted.name, Action.CHANGE, fields, variables)


def _added(wanted: Wanted) -> Difference:
    if wanted.repository is None:
        raise ConfigurationError(Mistake("repository", "is required").below(APPS, wanted.name))
    fields = {"repository": wanted.repository, **wanted.fields}
    return Difference(
        wanted.name,
        Action.ADD,
        {name: (None, _shown(value)) for name, value in fields.items()},
        {name: (None, _variable(each)) for name, each in _resolved(wanted.variables).items()},
    )


def _resolved(
    wanted: Mapping[str, NewValue], before: Mapping[str, Variable] = NONE
) -> dict[str, Variable]:
    kinds = {name: variable.is_secret for name, variable in before.items()}
    return {name: value.resolved(name, before=kinds.get(name)) for name, value in wanted.items()}


def _ensure_same(wanted: Wanted, repository: Repository) -> None:
    if wanted.repository and wanted.repository.lower() != repository.name_key:
        told = (
            f"an app keeps its repository, and {wanted.name} has {repository.full_name}; "
            "remove the app first, or give the new one another name"
        )
        raise ConflictError(Mistake("repository", told).below(APPS, wanted.name))


def _shown(value: object, before: object = None) -> object:
    """Give a value with a placeholder for a secret."""
    if not isinstance(value, SecretStr):
        return value
    return SECRET if before is None else OTHER_SECRET


def _variable(variable: Variable | None, before: Variable | None = None) -> object:
    if variable is None:
        return None
    if not variable.is_secret:
        return variable.value.get_secret_value()
    is_other = before is not None and before.is_secret
    return OTHER_SECRET if is_other else SECRET


# --- Making it so ----------------------------------------------------------------------------


def _apply_one(
    session: Session, difference: Difference, wanted: Wanted, keeper: Keeper, applied: Applied
) -> None:
    around: dict[str, Any] = {"settings": keeper.settings, "vault": keeper.vault}
    if difference.action is Action.ADD:
        given = {**wanted.fields, "name": wanted.name, "repository": wanted.repository}
        created = add_app(session, parse_input(AppInput, given), keeper.actor, **around)
        app = created.app
        if created.webhook_secret is not None:
            applied.secrets[wanted.name] = created.webhook_secret
    else:
        app = find_app(session, wanted.name)
    if difference.action is Action.CHANGE and difference.fields:
        names = {*difference.fields}
        if "git_url" in names:
            # Moving to another server removes the token, so set it again if the file names one.
            names |= {TOKEN} & wanted.fields.keys()
        given = {name: wanted.fields[name] for name in names}
        changed = change_app(session, app, parse_input(AppChange, given), keeper.actor, **around)
        applied.notes += changed.notes
    if difference.variables:
        variables = {name: wanted.variables[name] for name in difference.variables}
        done = set_variables(session, app, variables, keeper.actor, vault=keeper.vault)
        applied.notes += done.notes
    session.flush()


def _takes_domains(difference: Difference) -> bool:
    before, after = difference.fields.get("domains", ((), ()))
    return bool(set(after or ()) - set(before or ()))


@contextmanager
def _placed(app: str) -> Iterator[None]:
    """Add the app's place in the file to each mistake."""
    try:
        yield
    except ConfigurationError as exc:
        raise ConfigurationError(*(each.below(APPS, app) for each in exc.mistakes)) from exc
    except ConflictError as exc:
        raise ConflictError(Mistake("", str(exc)).below(APPS, app)) from exc
