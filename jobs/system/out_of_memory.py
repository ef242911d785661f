"""The order in which the OOM killer picks processes: apps first, then others, Keystone last.

The kernel kills one process at a time. Without Keystone, the router or Redis, no app can be reached
or brought back.

Source: proc(5), /proc/PID/oom_score_adj: -1000 means never, 1000 means always first.
"""

from contextlib import suppress
from pathlib import Path

LAST = -600  # for Keystone; systemd starts the engine with -500, which its builds inherit
FIRST = 500  # for apps

OWN = Path("/proc/self/oom_score_adj")


def go_last(file: Path = OWN) -> None:
    """Make the kernel kill this process, and those it starts, only after the others.

    This requires CAP_SYS_RESOURCE, which only root has, and not everywhere; without it, nothing
    happens.
    """
    with suppress(OSError):
        # Keep a lower value: the operator has set it.
        if int(file.read_text(encoding="utf-8")) > LAST:
            file.write_text(str(LAST), encoding="utf-8")
