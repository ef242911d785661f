"""The error message of a failed build, and whether the build or the engine failed. Pure.

The engine describes a failure only in English, so this module matches its text and passes on text
that it does not recognise. The text is not truncated here: it may contain build arguments in plain
text, and masking only recognises complete secrets.
"""

import re
from collections.abc import Mapping
from typing import Any

from jobs.adapters.buildkit.trace import Vertex
from jobs.errors import BuildError, DockerError, KeystoneError
from jobs.rules.reasons import quoted

NO_SPACE = "no space left on device"
# A build on a full disk leaves its incomplete context there, which only this command removes.
MAKE_ROOM = (
    "free some space (`docker builder prune` removes what builds have left), then deploy again"
)
DISK_FULL = f"the Docker Engine's disk is full; {MAKE_ROOM}"
_STAGE = re.compile(r"^\[[^\]]*\] ")
# The steps that pull an image from a registry; the older builder quotes the Dockerfile.
_PULL = re.compile(
    r"(?:load metadata for |resolve image config for (?:docker-image://)?|FROM (?:--\S+ )*)(\S+)",
    re.IGNORECASE,
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
    r"|failed to (?:create LLB definition|compute cache key|read dockerfile): "
    r"|process \".*?\" did not complete successfully: )+"
)


def told_error(message: Mapping[str, Any]) -> str | None:
    """Give the error in one of the engine's messages of a build; None when it is another message.

    Older engines send `error` beside `errorDetail`, and newer ones only that.
    """
    detail = message.get("errorDetail")
    if isinstance(detail, dict) and detail.get("message"):
        return str(detail["message"])
    return str(message.get("error", "")) if {"error", "errorDetail"} & set(message) else None


def build_failure(message: str, failed: Vertex | None) -> KeystoneError:
    """Give the error for a failed build.

    Args:
        message: the engine's final error message.
        failed: the step that failed, if one did.
    """
    reason = _reason(failed.error if failed else message)
    if NO_SPACE in message or (failed and NO_SPACE in failed.error):
        return DockerError(DISK_FULL)
    if failed is None:
        return BuildError(f"the build failed: {reason}")
    step = _STAGE.sub("", failed.name)
    if pull := _PULL.match(step):
        is_outage = _OUTAGE.search(failed.error) is not None
        return _pull_failure(pull[1], reason, is_outage=is_outage)
    return BuildError(f'the build failed at "{quoted(step)}": {reason}')


def _pull_failure(image: str, reason: str, *, is_outage: bool) -> KeystoneError:
    told = f"the base image {image} could not be pulled"
    if is_outage:
        return DockerError(f"{told}, as its registry or the network failed: {reason}")
    return BuildError(f"{told}: {reason}")


def _reason(message: str) -> str:
    exit_code = _EXIT_CODE.search(message)
    if exit_code:
        return f"exit code {exit_code[1]}"
    return quoted(_WRAPPING.sub("", message)) or "the engine gave no reason"
