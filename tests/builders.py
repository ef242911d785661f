"""Making what a test needs, in one line, by the same functions the product uses."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import urlencode

from pydantic import BaseModel, SecretStr
from sqlmodel import select

from jobs.processes.runtime import Runtime
from jobs.reads.apps import find_app
from jobs.records.apps import Created, add_app
from jobs.records.logins import OpenedSession, open_session
from jobs.records.requests import Request, request
from jobs.records.tokens import create_api_token
from jobs.records.users import add_user
from jobs.rules.actors import Actor
from jobs.rules.app_fields import PARTS, AppInput
from jobs.rules.app_settings import BuildSettings, ContainerSettings
from jobs.rules.container_values import ContainerSpec
from jobs.rules.log_events import BuildEvent
from jobs.rules.mistakes import parse_input
from jobs.rules.naming import session_cookie
from jobs.rules.redaction import Redactor
from jobs.settings import WebSettings
from jobs.states import ActorKind, DeploymentState, Role, Trigger
from jobs.storage.deployment_log import DeploymentLog, log_path
from jobs.storage.models import App, Deployment, LoginSession, Release, User
from receiver.signature import sign

WebRuntime = Runtime[WebSettings]

PAYLOADS = Path(__file__).parent / "payloads"
TESTER = Actor(ActorKind.USER, "tester")
REPOSITORY = "octo/web"
PASSWORD = "correct horse battery"
SHA_A, SHA_B, SHA_C = "a" * 40, "b" * 40, "c" * 40


# --- Fields ----------------------------------------------------------------------------------


def fields_of(model: type[BaseModel], *kinds: type) -> list[str]:
    """Give the fields of a model that hold one of these types, or nothing."""
    return [
        name
        for name, field in model.model_fields.items()
        if set(kinds) & set(_types_in(field.annotation))
    ]


def _types_in(annotation: object) -> Iterator[object]:
    yield annotation
    if get_origin(annotation) in {Annotated, Union, UnionType}:
        for part in get_args(annotation):
            yield from _types_in(part)


# --- Settings --------------------------------------------------------------------------------


def with_settings(spec: ContainerSpec, **changes: object) -> ContainerSpec:
    """Give a container's spec with other settings; nothing is judged."""
    return replace(spec, settings=spec.settings.model_copy(update=changes))


def change_settings(app: App, **changes: object) -> None:
    """Change some of an app's row, whether settings or other columns; no record is made of it."""
    for part, kind in PARTS.items():
        mine = {name: value for name, value in changes.items() if name in kind.model_fields}
        if mine:
            setattr(app, part, kind.kept({**dict(getattr(app, part)), **mine}))
    for name in changes.keys() & App.model_fields.keys():
        setattr(app, name, changes[name])


# --- Rows ------------------------------------------------------------------------------------


def make_app(
    runtime: WebRuntime,
    *,
    name: str = "web",
    repository: str = REPOSITORY,
    **fields: object,
) -> Created:
    """Make an app; `webhook_secret` is None when another app has its repository already."""
    wanted = parse_input(AppInput, {"name": name, "repository": repository, **fields})
    with runtime.database.writing() as session:
        return add_app(session, wanted, TESTER, settings=runtime.settings, vault=runtime.vault)


def webhook_secret(created: Created) -> SecretStr:
    """Give the secret of a repository that was made with its app."""
    assert created.webhook_secret is not None, "the repository was there before the app"
    return created.webhook_secret


def make_deployment(
    runtime: WebRuntime,
    *,
    app: str = "web",
    state: DeploymentState = DeploymentState.QUEUED,
    trigger: Trigger = Trigger.MANUAL,
    ref: str = "refs/heads/main",
    commit_sha: str = SHA_A,
) -> Deployment:
    """Queue a deployment, and put it into that state whatever the table of transitions says."""
    wanted = Request(trigger=trigger, ref=ref, commit_sha=commit_sha)
    with runtime.database.writing() as session:
        deployment = request(session, find_app(session, app), wanted, TESTER)
        deployment.state = state
        session.add(deployment)
    return deployment


def make_live(runtime: WebRuntime, *, app: str = "web", commit_sha: str = SHA_A) -> Release:
    """Have a release go live with the app as it is configured now, as if a worker had made it."""
    state = DeploymentState.SUCCESS
    deployment = make_deployment(runtime, app=app, state=state, commit_sha=commit_sha)
    with runtime.database.writing() as session:
        row = find_app(session, app)
        row.last_release += 1
        release = Release(
            app_id=row.id or 0,
            number=row.last_release,
            deployment_id=deployment.id or 0,
            commit_sha=commit_sha,
            image=f"keystone-ident/{app}:{row.last_release}",
            image_id=f"sha256:{row.last_release:064x}",
            configuration=row.configuration,
            build=BuildSettings(),
            container=ContainerSettings(),
            environment=b"sealed",
        )
        session.add(release)
        session.flush()
        session.get_one(Deployment, deployment.id).release_id = release.id
        row.live_release_id, row.live_deployment_id = release.id, deployment.id
        row.live_container_id = f"{deployment.id:064x}"
    return release


def set_state(runtime: WebRuntime, deployment_id: int, state: DeploymentState) -> None:
    """Put a deployment into a state, as if a worker had."""
    with runtime.database.writing() as session:
        session.get_one(Deployment, deployment_id).state = state


def change_app_row(runtime: WebRuntime, name: str, **columns: object) -> App:
    """Set columns of an app's row."""
    with runtime.database.writing() as session:
        app = find_app(session, name)
        change_settings(app, **columns)
        return app


def write_log(runtime: WebRuntime, deployment_id: int, lines: Iterable[str | BuildEvent]) -> Path:
    """Add lines to a deployment's log, as its build step would."""
    path = log_path(runtime.settings.logs_dir, deployment_id)
    log = DeploymentLog(path, Redactor())
    for line in lines:
        log.write("build", line)
    log.close()
    return path


# --- People and programs ---------------------------------------------------------------------


def make_token(runtime: WebRuntime, *, name: str, role: Role) -> str:
    """Make an API token and give its value."""
    with runtime.database.writing() as session:
        return create_api_token(session, name=name, role=role, actor=TESTER).get_secret_value()


def make_user(
    runtime: WebRuntime,
    *,
    name: str = "ada",
    role: Role = Role.ADMIN,
    password: str = PASSWORD,
) -> User:
    """Make a user who can log in."""
    with runtime.database.writing() as session:
        secret = SecretStr(password)
        return add_user(session, name=name, role=role, password=secret, actor=TESTER)


def make_session(
    runtime: WebRuntime, *, name: str = "ada", role: Role = Role.ADMIN
) -> OpenedSession:
    """Make a user without a usable password, and a session as if that user had logged in."""
    with runtime.database.writing() as session:
        user = User(name=name, role=role, password_hash="none")
        session.add(user)
        session.flush()
        return open_session(session, user, TESTER)


def cookie_name(runtime: Runtime[Any], *, is_secure: bool = False) -> str:
    """Name the session cookie of a Keystone."""
    return session_cookie(runtime.identity, is_secure=is_secure)


def change_session_rows(runtime: WebRuntime, **columns: object) -> None:
    """Set columns of every session."""
    _change_rows(runtime, LoginSession, columns)


def change_user_rows(runtime: WebRuntime, **columns: object) -> None:
    """Set columns of every user."""
    _change_rows(runtime, User, columns)


def _change_rows(
    runtime: WebRuntime, table: type[LoginSession] | type[User], columns: Mapping[str, object]
) -> None:
    with runtime.database.writing() as session:
        for row in session.exec(select(table)).all():
            for column, value in columns.items():
                setattr(row, column, value)


# --- Deliveries ------------------------------------------------------------------------------


@dataclass(frozen=True)
class SignedRequest:
    """A POST to the webhook: `client.post(WEBHOOK, content=it.body, headers=it.headers)`."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def payload(name: str, **changes: object) -> dict[str, Any]:
    """Read a recorded payload's JSON and change fields; a dotted name reaches inside."""
    data: dict[str, Any] = json.loads((PAYLOADS / f"{name}.json").read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = data
        for parent in parents:
            target = target[parent]
        target[last] = value
    return data


def signed(
    secret: SecretStr,
    data: object,
    *,
    event: str = "push",
    guid: str | None = None,
    as_form: bool = False,
) -> SignedRequest:
    """Sign a payload the way GitHub does."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    if as_form:
        body = urlencode({"payload": body.decode()}).encode()
    kind = "application/x-www-form-urlencoded" if as_form else "application/json"
    headers = {
        "Content-Type": kind,
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid or str(uuid.uuid4()),
        "X-Hub-Signature-256": sign(body, secret),
        "User-Agent": "GitHub-Hookshot/044aadd",
    }
    return SignedRequest(body, headers)


def signed_push(
    secret: SecretStr, *, guid: str | None = None, as_form: bool = False, **changes: object
) -> SignedRequest:
    """Sign a push of commit `bbb…` to `main` of octo/web, changed as `payload` does."""
    return signed(secret, payload("push", **changes), guid=guid, as_form=as_form)
