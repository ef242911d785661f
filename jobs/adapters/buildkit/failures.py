"""The one sentence a failed build ends with, and whose fault it was. Pure.

The engine describes a failure in English only, so this is where its text is looked at; what is not
recognised is passed on, shortened.
"""

import re

from jobs.adapters.buildkit.trace import Vertex
from jobs.errors import BuildError, DockerError, KeystoneError

LONGEST_REASON = 500  # characters
BASE_IMAGE = "load metadata for "
NO_SPACE = "no space left on device"
DISK_FULL = "the Docker Engine's disk is full; free some space and deploy again"
_STAGE = re.compile(r"^\[[^\]]*\] ")
_EXIT_CODE = re.compile(r"exit code: (\d+)")
# What BuildKit puts before the reason proper on its way up.
_WRAPPING = re.compile(
    r"^(rpc error: code = \w+ desc = |failed to solve( with frontend [\w.]+)?: "
    r"|failed to (create LLB definition|compute cache key|read dockerfile): "
    r"|process \"(.*?)\" did not complete successfully: )"
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
    if BASE_IMAGE in failed.name:
        image = failed.name.partition(BASE_IMAGE)[2]
        return BuildError(f"the base image {image} could not be had: {reason}")
    step = _shortened(_STAGE.sub("", failed.name), 120)
    return BuildError(f'the build failed at "{step}": {reason}')


def _reason(message: str) -> str:
    exit_code = _EXIT_CODE.search(message)
    if exit_code:
        return f"exit code {exit_code[1]}"
    unwrapped = message
    while (rest := _WRAPPING.sub("", unwrapped)) != unwrapped:
        unwrapped = rest
    return _shortened(unwrapped, LONGEST_REASON) or "the engine gave no reason"


def _shortened(text: str, longest: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"
