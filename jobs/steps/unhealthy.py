"""Explains an unhealthy container: what it answered, what is probably wrong, and what mends it."""

from jobs.deployment.work import Work
from jobs.rules.container_values import HealthRequest, ProbeResult
from jobs.rules.refused_host import host_is_refused
from jobs.steps.output import Output, quoted


def answer_words(work: Work, request: HealthRequest, result: ProbeResult) -> str:
    """Describe what a probe saw: of an answer the status, the Host it was for and its first line.

    Returns:
        Like "status 400 for Host localhost: Invalid host header"; masked.
    """
    if result.status is None:
        return result.seen
    said = quoted(result.said, work.log.redact)
    return f"{result.seen} for Host {request.host}{f': {said}' if said else ''}"


def host_hint(work: Work, request: HealthRequest, result: ProbeResult, output: Output) -> str:
    """Say what to set when the app refuses the Host of the request; else nothing."""
    texts = (result.said, *(line.text for line in output.lines))
    if not host_is_refused(result.status, texts):
        return ""
    return (
        f"the app refuses the Host {request.host}: allow it there (ALLOWED_HOSTS, config.hosts …), "
        f"or `keystone app set {work.plan.app} --health-host` one that it allows"
    )
