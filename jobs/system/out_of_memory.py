"""Who goes first when the machine's memory is used up: apps, then others, and Keystone last.

The kernel kills one process at a time. Without Keystone, the router or Redis no app is reached, or
brought back.

Source: proc(5), /proc/PID/oom_score_adj: -1000 is never, 1000 always first.
"""

from contextlib import suppress
from pathlib import Path

LAST = -600  # systemd starts the engine with -500, and what it builds has the engine's
FIRST = 500  # of apps

OWN = Path("/proc/self/oom_score_adj")


def go_last(file: Path = OWN) -> None:
    """Have this process, and all that it will start, go after the others.

    Only root may, and not even root everywhere: it takes CAP_SYS_RESOURCE.
    """
    with suppress(OSError):
        # A lower value is the operator's wish.
        if int(file.read_text()) > LAST:
            file.write_text(str(LAST))
