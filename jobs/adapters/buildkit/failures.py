"""The one sentence a failed build ends with, and whose fault it was. Pure.

The engine describes a failure in English only, so this is where its text is looked at; what is not
recognised is passed on. It is not shortened here: build arguments stand in it in clear, and only
whole secrets are recognised and masked.
"""

import re

from jobs.adapters.buildkit.trace import Vertex
from jobs.errors import BuildError, DockerError, KeystoneError
from jobs.rules.reasons import quoted

NO_SPACE = "no space left on device"
# A build that had no room leaves its unfinished context there, which only this removes.
MAKE_ROOM = (
    "free some space (`docker builder prune` removes what builds have left), then deploy again"
)
DISK_FULL = f"the Docker Engine's disk is full; {MAKE_ROOM}"
_STAGE = re.compile(r"^\[[^\]]*\] ")
# The steps that ask a registry for an image; the older builder has the Dockerfile's own words.
_PULL = re.compile(
    r"(?:load metadata for |resolve image config for (?:docker-image://)?|FROM (?:--\S+ )*)(\S+)",
    re.IGNORECASE,
)
# What is said of a registry, or the way to it, that may well do better later. The rest is about the
# image: it is not there, or not for us, or not for this machine.
_OUTAGE = re.compile(
    r"\b(429|5\d\d) (too many|internal|bad gateway|service|gateway|response body)"
    r"|too ?many ?requests|dial tcp|i/o timeout|tls handshake timeout|client\.timeout exceeded"
    r"|deadline exceeded|connection (refused|reset)|\beof$",
    re.IGNORECASE,
)
_EXIT_CODE = re.compile(r"exit code: (\d+)")
# What BuildKit puts before the reason proper on its way up.
_WRAPPING = re.compile(
    r"^(?:rpc error: code = \w+ desc = |failed to solve(?: with frontend [\w.]+)?: "
    r"|failed to (?:create LLB definition|compute cache key|read dockerfile): "
    r"|process \".*?\" did not complete successfully: )+"
)


def build_failure(message: str, failed: Vertex | None) -> KeystoneError:
    """Give the error that tells of a failed build.

    Args:
        message: the engine's last word on it.
        failed: the step it failed at, when one did.
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
    told = f"the base image {image} could not be had"
    if is_outage:
        return DockerError(f"{told}, as its registry or the network failed: {reason}")
    return BuildError(f"{told}: {reason}")


def _reason(message: str) -> str:
    exit_code = _EXIT_CODE.search(message)
    if exit_code:
        return f"exit code {exit_code[1]}"
    return quoted(_WRAPPING.sub("", message)) or "the engine gave no reason"
