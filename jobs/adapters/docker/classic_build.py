"""Builds with the engine's older builder, for engines without BuildKit sessions.

The whole context is streamed as a tar made from the tree; it is never on disk or in memory as a
whole. There are no build secrets and no cache mounts, and unchanged files are sent again.

Source: https://docs.docker.com/reference/api/engine/version/v1.41/ "Build an image" (read
2026-11-23), and observation of Docker Engine 20.10.
"""

import base64
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from jobs.adapters.buildkit.client import build_args, dockerfile_text, known_of
from jobs.adapters.buildkit.context import IGNORE_FILE, Context, Filters, Node
from jobs.adapters.buildkit.effort import never
from jobs.adapters.buildkit.failures import build_failure, told_error
from jobs.adapters.buildkit.progress import Lines
from jobs.adapters.buildkit.running import aside, run_until_stopped
from jobs.adapters.buildkit.trace import Vertex
from jobs.adapters.buildkit.transport import Address, connected, json_lines, read_refusal
from jobs.adapters.docker.logins import Login
from jobs.adapters.ports import BuildLog, Tree
from jobs.errors import BuildError, KeystoneError
from jobs.rules.build_causes import Cause
from jobs.rules.container_values import BuildSpec, Limits
from jobs.rules.log_events import BuildEvent, EventKind
from jobs.rules.stopping import StopSignal
from jobs.rules.text import BYTE_ORDER_MARK, plain

BAD_REQUEST = 400
PERIOD_US = 100_000  # the scheduler period for the CPU quota, in microseconds
LACKS = (
    "this engine has no BuildKit sessions, so its older builder is used: "
    "no build secrets, no cache mounts, and every file is sent every time"
)
NO_SECRETS = (
    "the app has build secrets, and this engine has no BuildKit to give them to the build; "
    "use a Docker Engine from 18.09 on, or take the secrets away"
)
_SPECIAL = re.compile(r"([*?\[\\])")
# What this builder writes between the lines of the step.
_BUILDERS_OWN = re.compile(r" ---> |Removing intermediate container |The command '")
_STEP = re.compile(r"step \d+/\d+ ?: (.*)", re.IGNORECASE)


@dataclass(frozen=True)
class ClassicBuilder:
    """The older builder of one engine.

    Attributes:
        api_version: the negotiated version of the Engine API.
        logins: user and password, by the names that the docker command line stores them under.
    """

    address: Address
    api_version: str
    logins: Mapping[str, Login] = field(default_factory=dict)

    def build(self, spec: BuildSpec, tree: Tree, *, log: BuildLog, stop: StopSignal) -> None:
        """Build an image from the tree, and tag it as the spec says.

        Raises:
            BuildError: the build failed, took longer than its deadline, or needs build secrets.
            DockerError: the engine failed.
        """
        log(BuildEvent(EventKind.TEXT, LACKS))
        if spec.secrets:
            raise BuildError(NO_SECRETS)
        context = Context(tree)
        context.ensure_dockerfile(spec.dockerfile)
        text = dockerfile_text(context, spec.dockerfile)
        spec = replace(spec, args=build_args(spec, text))
        build = self._build(spec, context, log)
        run_until_stopped(build, deadline_s=spec.deadline_s, stop=stop)

    async def _build(self, spec: BuildSpec, context: Context, log: BuildLog) -> None:
        headers: dict[str, str | list[str]] = {
            "Content-Type": "application/x-tar",
            "Transfer-Encoding": "chunked",
            "X-Registry-Config": registry_config(self.logins),
        }
        target = f"/v{self.api_version}/build?{urlencode(_query(spec))}"
        files = await aside(lambda given_up: sent_files(context, spec.dockerfile, given_up))
        body = tar_of(files, context)
        async with connected(self.address) as connection:
            status = await connection.request(target, headers, body)
            output = _Output(log, spec, context)
            if status == BAD_REQUEST:
                raise output.failure(await read_refusal(connection))
            async for message in json_lines(connection, status):
                output.take(message)
        output.end()


def _query(spec: BuildSpec) -> dict[str, str]:
    return {
        "t": spec.tag,
        "dockerfile": spec.dockerfile,
        "labels": json.dumps(dict(spec.labels)),
        "buildargs": json.dumps({k: v.get_secret_value() for k, v in spec.args.items()}),
        "target": spec.target or "",
        **_limits(spec.limits),
        # Both are needed, or the containers of the build's steps are not removed.
        "rm": "1",
        "forcerm": "1",
    }


def _limits(limits: Limits) -> dict[str, str]:
    """Give the limits that this builder supports; they apply to each step's container."""
    told: dict[str, int] = {}
    if limits.memory is not None:
        told |= {"memory": limits.memory, "memswap": limits.memory}
    if limits.cpus is not None:
        told |= {"cpuperiod": PERIOD_US, "cpuquota": round(limits.cpus * PERIOD_US)}
    return {name: str(value) for name, value in told.items()}


def registry_config(logins: Mapping[str, Login]) -> str:
    """Give the value of the header that passes registry logins to the engine."""
    told = {
        key: {"username": user, "password": password.get_secret_value(), "serveraddress": key}
        for key, (user, password) in logins.items()
    }
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode()


def sent_files(
    context: Context, dockerfile: str, given_up: Callable[[], bool] = never
) -> list[Node]:
    """Give the files for the tar: those that .dockerignore does not exclude, and the Dockerfile.

    Raises:
        BuildError: a pattern of .dockerignore cannot be used.
    """
    content = context.text(f"{dockerfile}{IGNORE_FILE}") or context.text(IGNORE_FILE)
    lines = content.removeprefix(BYTE_ORDER_MARK).splitlines()
    patterns = [line for line in lines if line.strip() and not line.startswith("#")]
    # Always send these two files: the engine reads them, and then excludes them itself if the
    # patterns say so.
    kept = ("!" + _SPECIAL.sub(r"\\\1", path) for path in (dockerfile, IGNORE_FILE))
    return context.select(Filters(exclude=(*patterns, *kept)), given_up)


def tar_of(nodes: Iterable[Node], context: Context) -> Iterator[bytes]:
    """Give a tar of these files in pieces, in the GNU format, which every engine reads."""
    for node in nodes:
        info = _described(node)
        yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        if node.entry is not None and info.isreg():
            yield from context.read(node.entry)
            yield b"\0" * (-info.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _described(node: Node) -> tarfile.TarInfo:
    info = tarfile.TarInfo(node.path)
    info.mode = node.permissions
    if node.entry is None:
        info.type = tarfile.DIRTYPE
    elif node.is_link:
        info.type, info.linkname = tarfile.SYMTYPE, node.target
    else:
        info.size, info.mtime = node.entry.size, node.entry.changed_ns // 10**9
    return info


class _Output:
    """Logs the engine's output of a build, and stores the current step.

    Every line becomes plain text: the engine mixes its own lines and those of the steps in one
    stream, so a step could imitate the engine.
    """

    def __init__(self, log: BuildLog, spec: BuildSpec, context: Context) -> None:
        self._log = log
        self._spec = spec
        self._context = context
        self._cause = Cause()
        self._lines = Lines()
        self._step = ""

    def take(self, message: Mapping[str, Any]) -> None:
        if (reason := told_error(message)) is not None:
            self.end()
            raise self.failure(reason, message.get("errorDetail"))
        match message:
            case {"stream": str(text)}:
                self._read(self._lines.feed(text.encode(errors="replace")))
            case {"status": str(status)} if not message.get("progressDetail"):
                self._say(f"{message.get('id', '')} {status}".strip())

    def end(self) -> None:
        self._read(self._lines.end())

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            if found := _STEP.match(line):
                self._step, self._cause = found[1].strip(), Cause()
            elif not _BUILDERS_OWN.match(line):
                self._cause.feed(line)
            # Mark lines that begin with `#`: in the plain text of a log, BuildKit's events do.
            self._say(f"| {line}" if plain(line).startswith("#") else line)

    def _say(self, text: str) -> None:
        self._log(BuildEvent(EventKind.TEXT, text))

    def failure(self, reason: str, detail: object = None) -> KeystoneError:
        """Give the error for the engine's final message."""
        known = known_of(self._spec, self._context, self._cause)
        if not self._step:
            return build_failure(reason, None, known)
        code = detail.get("code") if isinstance(detail, dict) else None
        told = f"exit code: {code}" if code else reason
        return build_failure(reason, Vertex("", self._step, error=told), known)
