"""Explains an unhealthy container: what it answered, what is probably wrong, and what mends it."""

import re
import shlex
from collections.abc import Sequence

from jobs.deployment.work import Work
from jobs.errors import PlatformError
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import (
    Container,
    HealthRequest,
    Insides,
    ProbeResult,
    UnwritableVolume,
)
from jobs.rules.listeners import exposed_words, port_words
from jobs.rules.refused_host import host_is_refused
from jobs.steps.output import Output, quoted

# What programs write that cannot write a file; SQLite names neither the file nor the reason.
CANNOT_WRITE = re.compile(
    r"permission denied|\bEACCES\b|\bEPERM\b|operation not permitted|not writ(?:e)?able"
    r"|unable to open database file|readonly database|AccessDenied|UnauthorizedAccess",
    re.IGNORECASE,
)

# What s6-overlay, runit and systemd write when Docker's init has PID 1.
WANTS_TO_BE_FIRST = re.compile(r"(?:only|must)(?: be)? run as pid 1\b", re.IGNORECASE)


def answer_words(work: Work, request: HealthRequest, result: ProbeResult) -> str:
    """Describe what a probe saw: of an answer the status, the Host it was for and its first line.

    Returns:
        Like "status 400 for Host localhost: Invalid host header"; masked.
    """
    if result.status is None:
        return result.seen
    said = quoted(result.said, work.log.redact)
    return f"{result.seen} for Host {request.host}{f': {said}' if said else ''}"


def hints(
    work: Work,
    container: Container,
    wanted: ContainerSettings,
    result: ProbeResult | None,
    output: Output,
) -> list[str]:
    """Say what is probably wrong with an unhealthy container, and what mends it.

    Args:
        result: what the last probe saw; None when the container has ended.
    """
    try:
        insides = work.tools.engine.insides(container.id)
    except PlatformError:
        insides = Insides()  # what is known already must still be told
    request = work.plan.health_request(wanted)
    found = [] if result is None else [host_hint(work, request, result, output)]
    if result is not None and result.status is None:
        found.append(port_hint(work.plan.app, wanted.port, insides))
    texts = [line.text for line in output.lines]
    found.append(volume_hint(insides.unwritable, texts))
    if wanted.init and any(map(WANTS_TO_BE_FIRST.search, texts)):
        found.append(
            f"its image brings an init of its own: `keystone app set {work.plan.app} --no-init`"
        )
    return list(filter(None, found))


def port_hint(app: str, port: int, insides: Insides) -> str:
    """Say what listens in the container instead of on the port that was asked; else nothing."""
    if insides.listeners is None:
        return exposed_words(app, port, insides.exposed)
    # A port that the image EXPOSEs comes first: it is the likeliest one.
    return port_words(app, port, insides.listeners, insides.exposed)


def volume_hint(unwritable: Sequence[UnwritableVolume], texts: Sequence[str]) -> str:
    """Say which volume the app cannot write, if it complains about that; else nothing."""
    if not unwritable or not any(map(CANNOT_WRITE.search, texts)):
        return ""
    # The one that the app names, if it names one.
    named = (each for each in unwritable if any(each.path in text for text in texts))
    volume = next(named, unwritable[0])
    name, path = volume.user.partition(":")[0], shlex.quote(volume.path)
    owner = "root" if volume.owner == 0 else f"user {volume.owner}"
    return (
        f"the volume at {volume.path} belongs to {owner}, and the image runs as {name}: add `RUN "
        f"mkdir -p {path} && chown {name} {path}` to the Dockerfile, before USER and VOLUME; the "
        "volume takes over that owner while it is empty"
    )


def host_hint(work: Work, request: HealthRequest, result: ProbeResult, output: Output) -> str:
    """Say what to set when the app refuses the Host of the request; else nothing."""
    texts = (result.said, *(line.text for line in output.lines))
    if not host_is_refused(result.status, texts):
        return ""
    return (
        f"the app refuses the Host {request.host}: allow it there (ALLOWED_HOSTS, config.hosts …), "
        f"or `keystone app set {work.plan.app} --health-host` one that it allows"
    )
