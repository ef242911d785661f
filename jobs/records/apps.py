"""Adds, changes and removes apps and their repositories."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlmodel import Session, col, func, select

from jobs.errors import ConfigurationError, ConflictError, Mistake
from jobs.reads.app_settings import app_settings
from jobs.reads.repositories import has_repository_token
from jobs.records.audit import Tag, note
from jobs.records.domains import claim_domains, domains_of
from jobs.records.repositories import (
    has_apps,
    make_webhook_secret,
    remove_repository,
    removed_notes,
    set_repository_token,
)
from jobs.records.repository_identity import ask_anew
from jobs.records.statuses import unsent
from jobs.rules.actors import Actor
from jobs.rules.app_fields import (
    PARTS,
    REPOSITORY_FIELDS,
    AppChange,
    AppInput,
    ensure_scheme,
    is_kept_by_release,
)
from jobs.rules.app_settings import BuildSettings, ContainerSettings, PushRules
from jobs.rules.port_range import PortRange
from jobs.settings import Settings
from jobs.states import DeploymentState
from jobs.storage.models import App, BlockedPort, Deployment, Repository
from jobs.storage.vault import Vault

MOST_APPS = 200  # per repository, because one push may deploy all of them


@dataclass(frozen=True)
class Created:
    """A new app, and its repository's webhook secret if the repository is new too."""

    app: App
    webhook_secret: SecretStr | None


@dataclass(frozen=True)
class Changed:
    """A changed app.

    Attributes:
        lost_token: whether the repository's token was removed, because the git server changed.
    """

    app: App
    lost_token: bool = False

    @property
    def notes(self) -> list[str]:
        """The side effects of the change, in sentences."""
        told = (
            "the repository is fetched from another server now, so its token was taken away; "
            f"`keystone app set {self.app.name} --token-stdin` sets another"
        )
        return [told] if self.lost_token else []


@dataclass(frozen=True)
class RemovedApp:
    """A removed app.

    Attributes:
        repository: the name of its repository if that was removed too, else None.
        untold: the number of commit statuses that will not be sent to GitHub any more.
    """

    app: str
    repository: str | None
    untold: int

    def notes(self, settings: Settings) -> list[str]:
        """Say in sentences what else was removed, and what is left to do."""
        told = removed_notes(self.repository, settings) if self.repository else []
        if self.untold:
            told.append(f"{self.untold} commit statuses were not sent yet, and will not be")
        return told


def add_app(
    session: Session, wanted: AppInput, actor: Actor, *, settings: Settings, vault: Vault
) -> Created:
    """Add an app, and its repository unless another app already uses it.

    Raises:
        ConfigurationError: the git URL is not allowed, or a domain is the dashboard's own.
        ConflictError: the name, the port or a domain is taken, the repository has another git URL,
            or it already has `MOST_APPS` apps.
    """
    if session.exec(select(App).where(App.name == wanted.name)).first() is not None:
        raise ConflictError(f"there is an app named {wanted.name} already")
    repository, webhook_secret = _repository(session, wanted, actor, settings, vault)
    _ensure_room(session, repository)
    _ensure_not_the_dashboard(wanted.domains, settings)
    app = App(
        push_rules=PushRules.model_validate(dict(wanted)),
        build=BuildSettings.model_validate(dict(wanted)),
        container=ContainerSettings.model_validate(dict(wanted)),
        name=wanted.name,
        branch=wanted.branch,
        auto_deploy=wanted.auto_deploy,
        repository_id=repository.id or 0,
        host_port=allocate_port(session, settings.port_range, wanted.host_port),
    )
    session.add(app)
    session.flush()
    claim_domains(session, app, wanted.domains)
    told = {"repository": repository.full_name, "port": app.host_port}
    note(session, Tag.APP_CREATED, actor, f"app:{app.name}", **told, after=_shown(session, app))
    if wanted.token is not None:
        set_repository_token(session, repository, wanted.token, actor, vault=vault)
    return Created(app, webhook_secret)


def _ensure_room(session: Session, repository: Repository) -> None:
    apps = select(func.count()).where(App.repository_id == repository.id)
    if session.exec(apps).one() >= MOST_APPS:
        raise ConflictError(
            f"{repository.full_name} has {MOST_APPS} apps already, and each push may deploy them "
            "all; remove one first"
        )


def change_app(
    session: Session, app: App, change: AppChange, actor: Actor, *, settings: Settings, vault: Vault
) -> Changed:
    """Change the given fields; a change to a setting that releases keep requires a redeploy.

    Raises:
        ConfigurationError: the git URL is not allowed, a domain is the dashboard's own, or a fixed
            field (name, repository or host port) would change.
        ConflictError: a domain is taken.
    """
    given = change.given()
    repository = session.get_one(Repository, app.repository_id)
    lost_token = False
    if git_url := given.pop("git_url", None):
        ensure_scheme(git_url, settings.allowed_git_schemes)
        lost_token = _move(session, repository, git_url, actor, vault=vault)
    if (token := given.pop("token", None)) is not None:
        set_repository_token(session, repository, token, actor, vault=vault)
        lost_token = False
    _ensure_kept(given.pop("name", None), app.name, "name", app)
    _ensure_kept(given.pop("repository", None), repository.full_name, "repository", app)
    _ensure_kept(given.pop("host_port", None), app.host_port, "host_port", app)
    known = {**app_settings(app), "domains": domains_of(session, app)}
    before = {name: known[name] for name in given if known[name] != given[name]}
    if "domains" in before:
        _ensure_not_the_dashboard(set(given["domains"]) - set(known["domains"]), settings)
    _assign(session, app, {name: given[name] for name in before})
    if "auto_deploy" in given:
        app.paused_reason = "" if app.auto_deploy else f"switched off by {actor}"
    if any(map(is_kept_by_release, before)):
        app.configuration += 1
    after = {name: given[name] for name in before}
    note(session, Tag.APP_CHANGED, actor, f"app:{app.name}", before=before, after=after)
    return Changed(app, lost_token)


def _move(
    session: Session, repository: Repository, git_url: str, actor: Actor, *, vault: Vault
) -> bool:
    """Change a repository's git URL; remove its token if the new URL is on another server.

    A stored token is never shown again. Otherwise a user could learn it by having it sent to a
    server of their own.

    Returns:
        Whether a token was removed.
    """
    before, repository.git_url = repository.git_url, git_url
    if before == git_url:
        return False
    target = f"repository:{repository.id}"
    note(session, Tag.REPOSITORY_MOVED, actor, target, before=before, after=git_url)
    ask_anew(repository)
    if _origin(before) == _origin(git_url) or not has_repository_token(session, repository):
        return False
    set_repository_token(session, repository, SecretStr(""), actor, vault=vault)
    return True


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _ensure_kept(wanted: str | int | None, kept: str | int, field: str, app: App) -> None:
    """Refuse to change a field that identifies an app for people and programs."""
    if wanted is not None and str(wanted).lower() != str(kept).lower():
        told = f"{app.name} keeps {kept}; add another app to get {wanted}"
        raise ConfigurationError(Mistake(field, told))


def _ensure_not_the_dashboard(domains: Collection[str], settings: Settings) -> None:
    """Refuse the dashboard's host name: an app could set cookies for it, and imitate it."""
    name = settings.dashboard_name
    if name and name in domains:
        told = f"{name} is the dashboard's own name (KEYSTONE_PUBLIC_URL); give the app another"
        raise ConfigurationError(Mistake("domains", told))


def _assign(session: Session, app: App, values: dict[str, Any]) -> None:
    for part, kind in PARTS.items():
        if changed := {name: values[name] for name in values if name in kind.model_fields}:
            setattr(app, part, getattr(app, part).model_copy(update=changed))
    app.branch = values.get("branch", app.branch)
    app.auto_deploy = values.get("auto_deploy", app.auto_deploy)
    if "domains" in values:
        claim_domains(session, app, values["domains"])


def remove_app(session: Session, app: App, actor: Actor) -> RemovedApp:
    """Remove an app and its history; the watcher removes its containers and images.

    Its repository is removed with its last app, so that no unused token or secret is left.

    Raises:
        ConflictError: the app is being deployed.
    """
    statement = select(Deployment).where(
        Deployment.app_id == app.id,
        col(Deployment.state).in_([DeploymentState.QUEUED, DeploymentState.RUNNING]),
    )
    if (busy := session.exec(statement).first()) is not None:
        raise ConflictError(f"{app.name} is being deployed; cancel #{busy.number} first")
    told = {"port": app.host_port, "before": _shown(session, app)}
    note(session, Tag.APP_REMOVED, actor, f"app:{app.name}", **told)
    repository = session.get_one(Repository, app.repository_id)
    untold = unsent(session, app.id or 0)
    session.delete(app)
    session.flush()
    if has_apps(session, repository):
        return RemovedApp(app.name, None, untold)
    remove_repository(session, repository, actor)
    return RemovedApp(app.name, repository.full_name, untold)


def _shown(session: Session, app: App) -> dict[str, object]:
    """Give the app's settings that differ from the defaults; they include no secrets."""
    known = AppChange.model_construct(**app_settings(app), domains=domains_of(session, app))
    told = known.model_dump(mode="json", exclude={"host_port", *REPOSITORY_FIELDS})
    usual = AppChange.model_construct().model_dump(mode="json")
    return {name: value for name, value in told.items() if value != usual[name]}


def block_ports(session: Session, ports: Iterable[int]) -> None:
    """Replace the list of ports that other programs listen on."""
    for row in session.exec(select(BlockedPort)).all():
        session.delete(row)
    session.flush()
    session.add_all(BlockedPort(port=port) for port in ports)


def allocate_port(session: Session, ports: PortRange, wanted: int | None) -> int:
    """Find a port for an app: the wanted one, or the lowest free one of the range.

    Raises:
        ConfigurationError: the wanted port is outside the range, where the router does not listen.
        ConflictError: the wanted port is taken, or all ports are.
    """
    taken = set(session.exec(select(App.host_port)).all())
    blocked = set(session.exec(select(BlockedPort.port)).all())
    if wanted is None:
        for port in range(ports.first, ports.last + 1):
            if port not in taken and port not in blocked:
                return port
        raise ConflictError(f"every port of KEYSTONE_PORT_RANGE ({ports}) is taken; widen it")
    if wanted not in ports:
        told = f"{wanted} is outside KEYSTONE_PORT_RANGE ({ports}), where apps listen"
        raise ConfigurationError(Mistake("host_port", told))
    if wanted in taken:
        raise ConflictError(Mistake("host_port", f"{wanted} belongs to another app already"))
    if wanted in blocked:
        told = f"another program on this machine listens on {wanted}"
        raise ConflictError(Mistake("host_port", told))
    return wanted


def _repository(
    session: Session, wanted: AppInput, actor: Actor, settings: Settings, vault: Vault
) -> tuple[Repository, SecretStr | None]:
    key = wanted.repository.lower()
    git_url = wanted.git_url or f"https://github.com/{wanted.repository}.git"
    found = session.exec(select(Repository).where(Repository.name_key == key)).first()
    if found is not None:
        _ensure_same(session, found, wanted)
        if wanted.git_url and wanted.git_url != found.git_url:
            ensure_scheme(git_url, settings.allowed_git_schemes)
            _move(session, found, git_url, actor, vault=vault)
        return found, None
    ensure_scheme(git_url, settings.allowed_git_schemes)
    repository = Repository(full_name=wanted.repository, name_key=key, git_url=git_url)
    session.add(repository)
    session.flush()
    webhook_secret = make_webhook_secret(session, repository, vault=vault)
    note(
        session,
        Tag.REPOSITORY_CREATED,
        actor,
        f"repository:{repository.id}",
        full_name=repository.full_name,
        git_url=git_url,
    )
    return repository, webhook_secret


def _ensure_same(session: Session, found: Repository, wanted: AppInput) -> None:
    """Check that the known repository of that name is the one that the new app means.

    Raises:
        ConflictError: it may be a different one, or other apps fetch it from another URL.
    """
    if found.is_name_claimed:
        told = (
            f"{found.full_name} is a name that a delivery has claimed, and nobody has "
            f"confirmed: {found.git_url} is behind it; give its GitHub id "
            f"(`keystone repository set {found.full_name} --github-id N`), or remove its apps"
        )
        raise ConflictError(Mistake("repository", told))
    if not wanted.git_url or wanted.git_url == found.git_url or not has_apps(session, found):
        return
    told = (
        f"{found.full_name} is fetched from {found.git_url} by its other apps; "
        "change it there first"
    )
    raise ConflictError(Mistake("git_url", told))
