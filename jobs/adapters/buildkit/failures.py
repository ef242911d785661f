"""The error message of a failed build, and whether the build or the engine failed. Pure.

The engine describes a failure only in English, so this module matches its text and passes on text
that it does not recognise. The text is not truncated here: it may contain build arguments in plain
text, and masking only recognises complete secrets.

The sentence begins with what went wrong, because GitHub shows only the first 140 characters; the
instruction and its line follow.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.adapters.buildkit.dockerfile import directives, has_heredocs, line_of
from jobs.adapters.buildkit.missing import missing_path
from jobs.adapters.buildkit.trace import Vertex
from jobs.errors import BuildError, DockerError, KeystoneError
from jobs.rules.build_causes import NO_NAMES
from jobs.rules.reasons import quoted

NO_SPACE = "no space left on device"
# A build on a full disk leaves its incomplete context there, which only this command removes.
MAKE_ROOM = (
    "free some space (`docker builder prune` removes what builds have left), then deploy again"
)
DISK_FULL = f"the Docker Engine's disk is full; {MAKE_ROOM}"
NO_DNS = (
    "a host name could not be resolved in the build: if the name is right, check the DNS servers "
    "of this machine (/etc/resolv.conf) and of its Docker Engine (`dns` in daemon.json)"
)
CLIPPED = (
    "the engine left out a part of the step's output, so the cause may be missing "
    "(BUILDKIT_STEP_LOG_MAX_SIZE and …_SPEED in the environment of dockerd)"
)
OLD_FRONTEND = (
    "the engine's own Dockerfile frontend is too old for this: begin the Dockerfile with "
    "`# syntax=docker/dockerfile:1`, or set KEYSTONE_DOCKERFILE_FRONTEND"
)
_STAGE = re.compile(r"^\[[^\]]*\] ")
# The steps that pull an image from a registry; the older builder quotes the Dockerfile.
_PULL = re.compile(r"(?:load metadata for |FROM (?:--\S+ )*)(\S+)", re.IGNORECASE)
_PULL_FRONTEND = re.compile(
    r"(?:resolve image config for (?:docker-image://)?|docker-image://)(\S+)", re.IGNORECASE
)
# Errors of a registry or the network that are probably temporary. All other errors are about the
# image: it does not exist, access is denied, or it is not for this machine.
_OUTAGE = re.compile(
    r"\b(429|5\d\d) (too many|internal|bad gateway|service|gateway|response body)"
    r"|too ?many ?requests|dial tcp|i/o timeout|tls handshake timeout|client\.timeout exceeded"
    r"|deadline exceeded|connection (refused|reset)|\beof$",
    re.IGNORECASE,
)
_EXIT_CODE = re.compile(r"exit code: (\d+)")
# The prefixes that BuildKit's layers add to the actual reason.
_WRAPPING = re.compile(
    r"^(?:rpc error: code = \w+ desc = |failed to solve(?: with frontend [\w.]+)?: "
    r"|failed to (?:create LLB definition|compute cache key|read dockerfile|load cache key): "
    r"|failed to calculate checksum of ref \S+: "
    r"|process \".*?\" did not complete successfully: )+"
)
# An error quotes the Dockerfile, so the repetitions are bounded.
# Folders of the builder on its own disk, which mean nothing to anyone else.
_BUILDERS_FOLDER = re.compile(r"/\S{0,300}?/(?:buildkit-mount|docker-builder)\d+(?=/)")
_UNKNOWN_FLAG = re.compile(
    r"unknown flag: |unsupported mount type|flag .{0,300} is not supported", re.IGNORECASE
)
_UNKNOWN_INSTRUCTION = re.compile(
    r"unknown instruction: |instruction .{0,300} requires", re.IGNORECASE
)

# What the registries' words mean, and what to do.
_REFUSALS = (
    (
        re.compile(r"no match for platform|no matching manifest", re.IGNORECASE),
        "it has no variant for this machine's processor",
    ),
    (
        re.compile(
            r"access denied|\b40[13]\b|denied:|unauthorized|insufficient_scope|no basic auth",
            re.IGNORECASE,
        ),
        (
            "it does not exist, or its registry wants a login (`docker login` on this machine, "
            "as Keystone's user)"
        ),
    ),
    (
        re.compile(r"not found|manifest unknown|no such image|name unknown", re.IGNORECASE),
        "there is no image of that name and tag",
    ),
)
_OUTAGES = (
    (
        re.compile(r"\b429\b|too ?many ?requests", re.IGNORECASE),
        "its registry limits the pulls of this machine: wait, or log in (`docker login`)",
    ),
    (NO_NAMES, "the host name of its registry could not be resolved"),
)


def told_error(message: Mapping[str, Any]) -> str | None:
    """Give the error in one of the engine's messages of a build; None when it is another message.

    Older engines send `error` beside `errorDetail`, and newer ones only that.
    """
    detail = message.get("errorDetail")
    if isinstance(detail, dict) and detail.get("message"):
        return str(detail["message"])
    return str(message.get("error", "")) if {"error", "errorDetail"} & set(message) else None


def _cannot_tell(_path: str) -> str:
    """Know nothing about why a file is missing."""
    return ""


@dataclass(frozen=True)
class Known:
    """What is known about a failed build besides the engine's words.

    Attributes:
        cause: the line of the failed step's output that says what went wrong.
        dockerfile: the text of the Dockerfile, and its path.
        why_missing: says why a path is not in the build context.
        is_clipped: whether the engine left out a part of the failed step's output.
    """

    cause: str = ""
    dockerfile: str = ""
    path: str = "Dockerfile"
    why_missing: Callable[[str], str] = _cannot_tell
    is_clipped: bool = False


def build_failure(message: str, failed: Vertex | None, known: Known | None = None) -> KeystoneError:
    """Give the error for a failed build.

    Args:
        message: the engine's final error message.
        failed: the step that failed, if one did.
        known: what else is known.
    """
    known = known or Known()
    if NO_SPACE in message or (failed and NO_SPACE in failed.error):
        return DockerError(DISK_FULL)
    if failed is None:
        reason = _reason(message)
        hint = _frontend_hint(reason, known.dockerfile)
        return BuildError(f"the build failed: {reason}{hint and f'; {hint}'}")
    return _step_failure(failed, known)


def _step_failure(failed: Vertex, known: Known) -> KeystoneError:
    step = _STAGE.sub("", failed.name)
    if frontend := _PULL_FRONTEND.match(step):
        return _pull_failure(f"the Dockerfile frontend {frontend[1]}", failed.error)
    if pull := _PULL.match(step):
        return _pull_failure(f"the base image {pull[1]}", failed.error)
    line = line_of(known.dockerfile, failed.name)
    at = f'"{quoted(step)}"' + (f" (line {line} of {known.path})" if line else "")
    path = missing_path(step, failed.error)
    if path is not None and (why := known.why_missing(path)):
        return BuildError(f"the build failed: {why}, at {at}")
    clipped = f"; {CLIPPED}" if known.is_clipped else ""
    return BuildError(_command_failure(failed, at, quoted(known.cause)) + clipped)


def _command_failure(failed: Vertex, at: str, cause: str) -> str:
    reason = _reason(failed.error)
    if not _EXIT_CODE.search(failed.error):
        return f"the build failed: {reason}, at {at}"
    if not cause:
        return f"the build failed at {at}: {reason}"
    hint = f"; {NO_DNS}" if NO_NAMES.search(cause) else ""
    return f"the build failed: {cause}, at {at}: {reason}{hint}"


def _pull_failure(image: str, error: str) -> KeystoneError:
    told, reason = f"{image} could not be pulled", _reason(error)
    if _OUTAGE.search(error):
        why = _meaning(_OUTAGES, error) or "its registry or the network failed"
        return DockerError(f"{told}, as {why}: {reason}")
    why = _meaning(_REFUSALS, error)
    return BuildError(f"{told}: {why} ({reason})" if why else f"{told}: {reason}")


def _meaning(table: tuple[tuple[re.Pattern[str], str], ...], error: str) -> str:
    return next((told for pattern, told in table if pattern.search(error)), "")


def _frontend_hint(reason: str, dockerfile: str) -> str:
    """Say what to do when the engine's own frontend does not know a part of the Dockerfile."""
    if "syntax" in directives(dockerfile):
        return ""
    is_heredoc = _UNKNOWN_INSTRUCTION.search(reason) and has_heredocs(dockerfile)
    return OLD_FRONTEND if is_heredoc or _UNKNOWN_FLAG.search(reason) else ""


def _reason(message: str) -> str:
    exit_code = _EXIT_CODE.search(message)
    if exit_code:
        return f"exit code {exit_code[1]}"
    told = _BUILDERS_FOLDER.sub("", _WRAPPING.sub("", message))
    return quoted(told) or "the engine gave no reason"
