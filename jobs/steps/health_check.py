"""health_check: probe the new container from outside until it is healthy or the deadline passes."""

import math
import time
from collections.abc import Callable

from jobs.deployment.work import Work
from jobs.errors import HealthCheckError
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import Container, ProbeResult
from jobs.states import ContainerState, Health, StepName
from jobs.steps.output import show_output
from jobs.steps.unhealthy import answer_words, hints

STEP = StepName.HEALTH_CHECK
FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.25
# The last probe has this timeout too: a shorter one would report a timeout, not the app's answer.
SHORTEST_LOOK_S = 1.0
LONGEST_LOOK_S = 5.0
# How long a container with `health: none` must keep running: most broken ones end sooner.
STAYS_UP_S = 5.0

Clock = Callable[[], float]


def check_health(
    work: Work, container: Container, wanted: ContainerSettings, *, clock: Clock = time.monotonic
) -> float:
    """Wait until the new container is healthy.

    The timeout starts with the first probe. It is longer when the image has its own health check,
    because Docker waits before that check's first run.

    Returns:
        Seconds until the container was healthy.

    Raises:
        HealthCheckError: the container ended, or the deadline passed.
    """
    if wanted.health is Health.NONE:
        return _stay_up(work, container, wanted, clock)
    begun = clock()
    allowed_s = wanted.health_timeout_s
    if _asks_docker(container, wanted):
        allowed_s += math.ceil(container.first_health_s)
    deadline = begun + allowed_s
    pause, in_a_row = FIRST_PAUSE_S, 0
    while True:
        result = _look(work, container, wanted, left_s=deadline - clock())
        container = _still_running(work, container, wanted)
        in_a_row = in_a_row + 1 if result.healthy else 0
        if in_a_row >= wanted.health_successes:
            took = clock() - begun
            too = " and Docker says healthy" if _asks_docker(container, wanted) else ""
            work.say(STEP, f"healthy after {took:.2f} s: {_what(container, wanted)} answered{too}")
            return took
        left = deadline - clock()
        if left <= 0:
            told = f"{_what(container, wanted)} was not healthy within {allowed_s} s"
            raise _gave_up(work, container, wanted, told, result)
        work.stop.wait(min(wanted.health_interval_s or pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE_S)


def trouble_now(work: Work, container: Container, wanted: ContainerSettings) -> str:
    """Probe a container once that has served before; return what is wrong, or nothing."""
    if wanted.health is Health.NONE:
        return ""
    result = _look(work, container, wanted, left_s=SHORTEST_LOOK_S)
    if result.healthy:
        return ""
    seen = answer_words(work, work.plan.health_request(wanted), result)
    return f"{_what(container, wanted)} is not healthy: {seen}"


def _stay_up(work: Work, container: Container, wanted: ContainerSettings, clock: Clock) -> float:
    """Watch that the container keeps running for `STAYS_UP_S`, without probing it."""
    warm = work.plan.warm
    if warm is not None and warm.container_id == container.id:
        _still_running(work, container, wanted)
        work.say(STEP, "it has kept running; nothing else is asked of it (health: none)")
        return 0.0
    begun = clock()
    while (up := clock() - begun) < STAYS_UP_S:
        work.stop.wait(LONGEST_PAUSE_S)
        _still_running(work, container, wanted)
    work.say(STEP, f"still running after {up:.0f} s; nothing else is asked of it (health: none)")
    return up


def _look(
    work: Work, container: Container, wanted: ContainerSettings, *, left_s: float
) -> ProbeResult:
    if _waits_for_docker(container, wanted):
        return ProbeResult(healthy=False, seen=f"Docker's health check says {container.health}")
    return work.tools.probe.look(
        container.ip,
        wanted.port,
        work.plan.health_request(wanted),
        timeout_s=max(SHORTEST_LOOK_S, min(LONGEST_LOOK_S, left_s)),
    )


def _asks_docker(container: Container, wanted: ContainerSettings) -> bool:
    """Whether the image has its own health check and the app sets no health path."""
    return wanted.health_path is None and container.health is not None


def _waits_for_docker(container: Container, wanted: ContainerSettings) -> bool:
    # Docker's check runs inside the container. Only a probe from outside, once that check succeeds,
    # shows that visitors can reach the container.
    return _asks_docker(container, wanted) and container.health != "healthy"


def _still_running(work: Work, container: Container, wanted: ContainerSettings) -> Container:
    now = work.tools.engine.inspect(container.id)
    if now.state is not ContainerState.RUNNING:
        output = show_output(work, STEP, container.id)
        told = f"the container {now} before it was healthy{output.told}"
        raise HealthCheckError("; ".join([told, *hints(work, now, wanted, None, output)]))
    return now


def _gave_up(
    work: Work, container: Container, wanted: ContainerSettings, told: str, last: ProbeResult
) -> HealthCheckError:
    output = show_output(work, STEP, container.id)
    request = work.plan.health_request(wanted)
    told = f"{told}; last seen: {answer_words(work, request, last)}"
    found = (
        [] if _waits_for_docker(container, wanted) else hints(work, container, wanted, last, output)
    )
    return HealthCheckError("; ".join([told, *found]), last_status=last.status)


def _what(container: Container, wanted: ContainerSettings) -> str:
    if _waits_for_docker(container, wanted):
        return "the image's own health check"
    if wanted.asked_path is None:
        return f"port {wanted.port}"
    return f"GET {wanted.asked_path} on port {wanted.port}"
