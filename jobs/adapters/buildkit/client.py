"""One build: a session for the engine's calls, and a request for the image."""

import asyncio
import base64
import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr

from jobs.adapters.buildkit.context import Context
from jobs.adapters.buildkit.control import Control, SolveError, solve_request
from jobs.adapters.buildkit.dockerfile import declared_arguments, directives
from jobs.adapters.buildkit.failures import Known, build_failure, told_error
from jobs.adapters.buildkit.http2 import GrpcConnection
from jobs.adapters.buildkit.missing import why_missing
from jobs.adapters.buildkit.progress import Progress
from jobs.adapters.buildkit.running import run_until_stopped
from jobs.adapters.buildkit.services import FindLogin, Method, Services
from jobs.adapters.buildkit.trace import decode_trace
from jobs.adapters.buildkit.transport import (
    ANSWER_DEADLINE_S,
    SWITCHING_PROTOCOLS,
    Address,
    Connection,
    connected,
    json_lines,
    refusal_of,
)
from jobs.adapters.buildkit.wire import WireError
from jobs.adapters.ports import BuildLog, Tree
from jobs.errors import BuildError, DockerError, KeystoneError
from jobs.rules.build_causes import Cause
from jobs.rules.container_values import BuildSpec
from jobs.rules.naming import COMMIT_LABEL
from jobs.rules.stopping import StopSignal

BUILDKIT = "2"  # the engine's number for this builder
EXPOSE = "X-Docker-Expose-Session-"
CACHE_NAMESPACE = "BUILDKIT_CACHE_MOUNT_NS"  # the Dockerfile frontend's build argument
UNKNOWN_FORM = "the Docker Engine reports progress in an unknown form"
WITHOUT_SESSIONS = frozenset({404, 501})  # from Podman, and from engines older than BuildKit


class NoSessionError(DockerError):
    """The engine has no build sessions, so this client cannot use its BuildKit."""


def _no_login(_host: str) -> None:
    """Give no login for any registry."""


@dataclass(frozen=True)
class BuildKit:
    """The builder of one engine.

    Attributes:
        api_version: the negotiated version of the Engine API.
        secrets: the secrets that Dockerfiles may mount, by id.
        find_login: gives user and password for a registry's host; called in the building thread.
        in_cgroup: whether the builder supports running a build in a given control group.
    """

    address: Address
    api_version: str
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)
    find_login: FindLogin = _no_login
    in_cgroup: bool = False

    def build(self, spec: BuildSpec, tree: Tree, *, log: BuildLog, stop: StopSignal) -> str:
        """Build an image from the tree, and give its id; `log` is called in this thread.

        Raises:
            BuildError: the build failed or took longer than its deadline.
            NoSessionError: the engine has no build sessions.
            DockerError: the engine failed.
        """
        context = Context(tree)
        context.ensure_dockerfile(spec.dockerfile)
        text = dockerfile_text(context, spec.dockerfile)
        spec = replace(spec, args=build_args(spec, text), frontend=used_frontend(spec, text))
        outcome = _Outcome(Progress(log), spec, context)
        build = self._build(spec, context, outcome)
        return run_until_stopped(build, deadline_s=spec.deadline_s, stop=stop)

    async def _build(self, spec: BuildSpec, context: Context, outcome: "_Outcome") -> str:
        services = Services(context, secrets=self.secrets, find_login=self.find_login)
        session_id = uuid.uuid4().hex
        async with connected(self.address) as connection:
            await self._turn_around(connection, session_id, spec.cache_key or spec.tag)
            session = GrpcConnection(connection.reader, connection.writer, services.answer)
            serving = asyncio.create_task(session.serve())
            try:
                return await self._request_image(spec, session_id, outcome)
            except (BuildError, DockerError):
                # An error on our side is the cause of the error that the engine then reports.
                if session.failure is not None:
                    raise session.failure from None
                raise
            finally:
                serving.cancel()
                await asyncio.wait({serving})

    async def _turn_around(self, connection: Connection, session_id: str, shared_key: str) -> None:
        headers: dict[str, str | list[str]] = {
            "Connection": "Upgrade",
            "Upgrade": "h2c",
            f"{EXPOSE}Uuid": session_id,
            f"{EXPOSE}Name": "keystone",
            # The engine reuses the context of the last build with the same key.
            f"{EXPOSE}Sharedkey": shared_key,
            f"{EXPOSE}Grpc-Method": list(Method),
        }
        try:
            async with asyncio.timeout(ANSWER_DEADLINE_S):
                status = await connection.request(f"/v{self.api_version}/session", headers)
        except TimeoutError as exc:
            raise DockerError("the Docker Engine does not open a build session") from exc
        if status in WITHOUT_SESSIONS:
            raise NoSessionError("the Docker Engine has no build sessions")
        if status != SWITCHING_PROTOCOLS:
            raise await refusal_of("a build session", connection, status)

    async def _request_image(self, spec: BuildSpec, session_id: str, outcome: "_Outcome") -> str:
        if not self.in_cgroup:
            spec = replace(spec, cgroup="")
        if spec.cgroup or spec.frontend:
            return await self._solve(spec, session_id, outcome)
        query = {
            "version": BUILDKIT,
            "remote": "client-session",
            "session": session_id,
            "t": spec.tag,
            "dockerfile": spec.dockerfile,
            "labels": json.dumps(dict(spec.labels)),
            "buildargs": json.dumps(plain_args(spec)),
            "target": spec.target or "",
        }
        target = f"/v{self.api_version}/build?{urlencode(query)}"
        async with connected(self.address) as connection:
            status = await connection.request(target, {"Content-Length": "0"})
            async for message in json_lines(connection, status):
                outcome.take(message)
        return outcome.image_id()

    async def _solve(self, spec: BuildSpec, session_id: str, outcome: "_Outcome") -> str:
        """Build with the control service, which takes a control group and another frontend."""
        ref = uuid.uuid4().hex
        request = solve_request(ref, session_id, spec.tag, _attributes(spec), spec.frontend)
        async with connected(self.address) as connection:
            upgrade: dict[str, str | list[str]] = {"Connection": "Upgrade", "Upgrade": "h2c"}
            status = await connection.request(f"/v{self.api_version}/grpc", upgrade)
            if status != SWITCHING_PROTOCOLS:
                raise await refusal_of("its builder", connection, status)
            try:
                return await Control(connection).solve(ref, request, outcome.follow)
            except SolveError as exc:
                raise outcome.failure(str(exc)) from None
            finally:
                outcome.end()


def _attributes(spec: BuildSpec) -> dict[str, str]:
    """Give the Dockerfile frontend's options; the engine derives the same from `POST /build`."""
    return {
        **{f"label:{name}": value for name, value in spec.labels.items()},
        **{f"build-arg:{name}": value for name, value in plain_args(spec).items()},
        **({"target": spec.target} if spec.target else {}),
        "filename": spec.dockerfile,
        "image-resolve-mode": "default",
        **({"cgroup-parent": f"/{spec.cgroup}"} if spec.cgroup else {}),
    }


def build_args(spec: BuildSpec, dockerfile: str) -> dict[str, SecretStr]:
    """Give the build arguments: the app's, and those offered that the Dockerfile declares."""
    declared = declared_arguments(dockerfile)
    offered = {name: SecretStr(value) for name, value in spec.offered.items() if name in declared}
    return {**offered, **spec.args}


def plain_args(spec: BuildSpec) -> dict[str, str]:
    """Give the build arguments in plain text, with the namespace of the build's cache mounts.

    All builds of an engine share one pool of cache mounts (`RUN --mount=type=cache,id=…`). The
    namespace prefixes each id. Ours is set last, so an app's argument cannot override it.
    """
    given = {name: value.get_secret_value() for name, value in spec.args.items()}
    return {**given, CACHE_NAMESPACE: spec.cache_key} if spec.cache_key else given


def used_frontend(spec: BuildSpec, dockerfile: str) -> str:
    """Give the image of the frontend to use; "" when the Dockerfile or the engine decides."""
    return "" if "syntax" in directives(dockerfile) else spec.frontend


def dockerfile_text(context: Context, path: str) -> str:
    """Give the Dockerfile's text; "" if it is too large to look into it, or unreadable."""
    with suppress(KeystoneError):
        return context.text(path)
    return ""


def known_of(spec: BuildSpec, context: Context, cause: Cause) -> Known:
    """Gather what explains a failed build besides the engine's words."""
    missing = partial(
        why_missing,
        context,
        dockerfile=spec.dockerfile,
        commit=spec.labels.get(COMMIT_LABEL, ""),
        folder=spec.folder,
    )
    text = dockerfile_text(context, spec.dockerfile)
    return Known(cause.line, text, spec.dockerfile, missing, is_clipped=cause.is_clipped)


class _Outcome:
    """The state of a build, collected from the engine's messages."""

    def __init__(self, progress: Progress, spec: BuildSpec, context: Context) -> None:
        self._progress = progress
        self._spec = spec
        self._context = context
        self._image_id = ""

    def take(self, message: dict[str, Any]) -> None:
        if (reason := told_error(message)) is not None:
            self.end()
            raise self.failure(reason)
        match message.get("id"), message.get("aux"):
            case "moby.image.id", {"ID": str(image_id)}:
                self._image_id = image_id
            case "moby.buildkit.trace", str(encoded):
                self._follow_encoded(encoded)

    def end(self) -> None:
        self._progress.end()

    def failure(self, message: str) -> KeystoneError:
        known = known_of(self._spec, self._context, self._progress.cause)
        return build_failure(message, self._progress.failed, known)

    def image_id(self) -> str:
        self.end()
        if not self._image_id:
            raise DockerError("the Docker Engine went away in the middle of the build")
        return self._image_id

    def follow(self, encoded: bytes) -> None:
        try:
            for event in decode_trace(encoded):
                self._progress.feed(event)
        except WireError as exc:
            raise DockerError(UNKNOWN_FORM) from exc

    def _follow_encoded(self, encoded: str) -> None:
        try:
            decoded = base64.b64decode(encoded)
        except ValueError as exc:
            raise DockerError(UNKNOWN_FORM) from exc
        self.follow(decoded)
