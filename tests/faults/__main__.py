"""`python -m tests.faults`: play many rounds and print the results."""

import argparse
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from tests.faults.burst import ANSWERED_WITHIN_S, burst
from tests.faults.engine import own_engine
from tests.faults.house import a_house
from tests.faults.rounds import Round, draw, play
from tests.faults.strikes import ENGINE_FAULTS, FAULTS, LONG_FAULTS, Fault
from tests.faults.table import Table
from tests.images import own_path

# One round in this many is played on an engine that the faults may break.
ENGINE_ONE_IN = 7
EXAMINED_EVERY = 25  # rounds
PUSHES_A_ROUND, MOST_PUSHES, PUSHES_AN_APP = 5, 1000, 20


def main() -> int:
    """Play and print; give 0 if the table has only zeros and the burst was answered in time."""
    wanted = _arguments()
    # Treat SIGTERM like Ctrl-C, so that the house is removed before the process exits.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    tell(f"SEED={wanted.seed} ROUNDS={wanted.rounds}")
    table, problems = Table(), 0
    on_own = wanted.rounds // ENGINE_ONE_IN
    on_the_machines = {**FAULTS, **LONG_FAULTS}
    for faults, count in ((on_the_machines, wanted.rounds - on_own), (ENGINE_FAULTS, on_own)):
        chosen = {name: fault for name, fault in faults.items() if wanted.only in name}
        drawn = list(draw(chosen, seed=wanted.seed, count=count)) if chosen else []
        problems += play_all(chosen, drawn[wanted.first :], table)
    if not wanted.only:
        problems += play_burst(min(wanted.rounds * PUSHES_A_ROUND, MOST_PUSHES), wanted.seed, table)
    tell(f"\n{table}\n\n{problems} problems; SEED={wanted.seed} plays the same rounds again")
    return 1 if problems else 0


def play_all(faults: Mapping[str, Fault], drawn: Sequence[Round], table: Table) -> int:
    """Play rounds one after the other in a house of their own, and count the problems."""
    problems = 0
    if not drawn:
        return problems
    with ExitStack() as stack:
        engine = stack.enter_context(own_engine()) if faults.keys() & ENGINE_FAULTS else None
        house = stack.enter_context(a_house(engine=engine))
        logs = {
            "faults.log": house.keystone.log_file,
            "faults-router.log": house.keystone.data_dir / "run" / "router.log",
        }
        for name, log in logs.items():
            stack.callback(shutil.copy, log, own_path(name))
        for number, one in enumerate(drawn, 1):
            begun = time.monotonic()
            verdict = play(house, faults[one.fault], one)
            if number % EXAMINED_EVERY == 0 or number == len(drawn):
                verdict.stuck += house.ailments()
            table.add(one.fault, verdict)
            problems += len(verdict.problems)
            tell(f"{one}: {time.monotonic() - begun:.1f} s", *verdict.problems)
    return problems


def play_burst(pushes: int, seed: str, table: Table) -> int:
    """Send that many pushes at the same time, and count the problems."""
    apps = [f"app-{number}" for number in range(max(1, pushes // PUSHES_AN_APP))]
    with a_house(apps=apps) as house:
        seen = burst(house, pushes=pushes, seed=seed)
        seen.verdict.stuck += house.ailments()
    problems = seen.verdict.problems
    if seen.p99_s > ANSWERED_WITHIN_S:
        problems.append(f"late: 99 % are to be answered within {ANSWERED_WITHIN_S:g} s")
    tell(f"burst: 99 % answered within {seen.p99_s:.2f} s", *problems)
    table.add(f"{pushes} pushes at once, {len(apps)} apps", seen.verdict)
    return len(problems)


def tell(*lines: str) -> None:
    """Print lines at once; each line after the first is a problem."""
    sys.stdout.write("\n    ".join(lines) + "\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS") or 50))
    parser.add_argument("--seed", default=os.environ.get("SEED") or secrets.token_hex(4))
    parser.add_argument("--only", default="", help="faults with this in their names")
    parser.add_argument("--first", type=int, default=0, help="the round to begin with")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
