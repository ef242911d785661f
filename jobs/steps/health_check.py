"""health_check: ask the new container from outside until it is healthy, or the deadline passes."""

import time
from collections.abc import Callable

from jobs.adapters.ports import Container, ProbeResult
from jobs.errors import HealthCheckError
from jobs.states import ContainerState, StepName
from jobs.work import ContainerSettings, Work

STEP = StepName.HEALTH_CHECK
FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.25
LONGEST_LOOK_S = 5.0
LINES_SHOWN = 50

Clock = Callable[[], float]


def check_health(
    work: Work, container: Container, wanted: ContainerSettings, *, clock: Clock = time.monotonic
) -> float:
    """Wait until the new container answers as it should.

    Returns:
        Seconds it took to become healthy.

    Raises:
        HealthCheckError: the container ended, or the deadline passed.
    """
    begun = clock()
    deadline = begun + wanted.health_timeout_s
    pause = FIRST_PAUSE_S
    while True:
        result = _look(work, container, wanted, left_s=deadline - clock())
        _ensure_running(work, container)
        if result.healthy:
            took = clock() - begun
            work.say(STEP, f"healthy after {took:.2f} s: {_what(wanted)} answered")
            return took
        left = deadline - clock()
        if left <= 0:
            raise _gave_up(work, container, wanted, result)
        work.stop.wait(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE_S)


def _look(
    work: Work, container: Container, wanted: ContainerSettings, *, left_s: float
) -> ProbeResult:
    return work.tools.probe.look(
        container.ip,
        wanted.port,
        wanted.health_path,
        timeout_s=max(0.05, min(LONGEST_LOOK_S, left_s)),
    )


def _ensure_running(work: Work, container: Container) -> None:
    now = work.tools.engine.inspect(container.id)
    if now.state is not ContainerState.RUNNING:
        _show_output(work, container)
        raise HealthCheckError(f"the container {now} before it was healthy")


def _gave_up(
    work: Work, container: Container, wanted: ContainerSettings, last: ProbeResult
) -> HealthCheckError:
    _show_output(work, container)
    return HealthCheckError(
        f"{_what(wanted)} was not healthy within {wanted.health_timeout_s} s; "
        f"last seen: {last.seen}",
        last_status=last.status,
    )


def _show_output(work: Work, container: Container) -> None:
    lines = work.tools.engine.output(container.id, tail=LINES_SHOWN)
    work.say(STEP, f"the container's last {len(lines)} lines:" if lines else "it wrote nothing")
    for line in lines:
        work.say(STEP, f"  {line}")


def _what(wanted: ContainerSettings) -> str:
    if wanted.health_path is None:
        return f"port {wanted.port}"
    return f"GET {wanted.health_path} on port {wanted.port}"
