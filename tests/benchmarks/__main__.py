"""Runs the named benchmarks, or all of them; exits with 1 if one misses its goal."""

import sys

from tests.benchmarks import (
    busy_rollback,
    hostile,
    pages,
    push_to_live,
    receiver,
    refusals,
    restarts,
    router_speed,
    soak,
    swaps,
    viewers,
    warm_rollback,
    worst_pushes,
)

BENCHMARKS = {
    "busy_rollback": busy_rollback.run,
    "hostile": hostile.run,
    "pages": pages.run,
    "push_to_live": push_to_live.run,
    "receiver": receiver.run,
    "refusals": refusals.run,
    "router_speed": router_speed.run,
    "restarts": restarts.run,
    "soak": soak.run,
    "swaps": swaps.run,
    "viewers": viewers.run,
    "warm_rollback": warm_rollback.run,
    "worst_pushes": worst_pushes.run,
}

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(BENCHMARKS)
    reached = [BENCHMARKS[name]() for name in chosen]
    sys.exit(0 if all(reached) else 1)
