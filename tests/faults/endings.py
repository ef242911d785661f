"""Faults that end all of Keystone, or its router, while the apps go on being visited.

The router is a service of its own: what ends Keystone must cut no visitor and refuse no push.
"""

import os
import secrets
import shutil
import signal
from contextlib import AbstractContextManager, suppress

from tests.acceptance.keystone import until
from tests.faults.house import House
from tests.faults.moments import Moment, striking

SERVES_WITHIN_S = 60.0
UPGRADED_WITHIN_S = 500.0
ENDS_WITHIN_S = 60.0

Struck = AbstractContextManager[None]


def keystone_stopped(house: House, moment: Moment) -> Struck:
    """Stop `keystone up` at the moment as systemd would, and start it again."""
    return striking(house.records, moment, house.keystone.restart)


def keystone_killed(house: House, moment: Moment) -> Struck:
    """Kill all of Keystone except its router at the moment, and start it again."""
    return striking(house.records, moment, house.keystone.kill_and_start)


def keystone_upgraded(house: House, moment: Moment) -> Struck:
    """Upgrade Keystone to a changed code at the moment."""

    def upgrade() -> None:
        house.checkout.touch(secrets.token_hex(8))
        done = house.keystone.run("upgrade", "--ready-within", "300", within_s=UPGRADED_WITHIN_S)
        assert done.returncode == 0, done.stdout + done.stderr

    return striking(house.records, moment, upgrade, within_s=UPGRADED_WITHIN_S)


def router_reloaded(house: House, moment: Moment) -> Struck:
    """Reload the router at the moment."""
    return striking(house.records, moment, house.keystone.reload_router)


def router_replaced(house: House, moment: Moment) -> Struck:
    """Replace the router's program at the moment, as an upgrade of its package does."""

    def replace() -> None:
        program = house.keystone.haproxy
        draft = program.with_suffix(".new")
        shutil.copy2(program, draft)
        draft.replace(program)
        house.keystone.reload_router()
        file = program.stat().st_ino
        for pid in house.keystone.parts("router"):
            assert os.stat(f"/proc/{pid}/exe").st_ino == file, "the old program serves"  # noqa: PTH116

    return striking(house.records, moment, replace)


def keeper_killed(house: House, moment: Moment) -> Struck:
    """Kill the process that looks after the router, at the moment; wait for the next one."""

    def kill() -> None:
        before = _keeper(house)
        os.kill(before, signal.SIGKILL)
        until(
            lambda: _keeper(house) not in {0, before},
            timeout=SERVES_WITHIN_S,
            what="another keeper is there",
        )

    return striking(house.records, moment, kill)


def router_killed_while_down(house: House, moment: Moment) -> Struck:
    """Kill Keystone at the moment, then the router, which must come back alone with all routes."""

    def kill() -> None:
        house.keystone.kill()
        _kill_router(house)
        until(
            lambda: all(house.answers(project.answer) for project in house.projects),
            timeout=SERVES_WITHIN_S,
            what="every app answers while Keystone is down",
        )
        house.keystone.start()

    return striking(house.records, moment, kill)


def rebooted(house: House, moment: Moment, *, engine_first: bool) -> Struck:
    """End everything at the moment as a reboot does; start the engine before or after Keystone."""

    def reboot() -> None:
        engine = house.own_engine
        for pid in [_keeper(house), *house.keystone.parts("router")]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        house.keystone.kill()
        engine.end()
        if engine_first:
            engine.start()
        house.keystone.start()
        if not engine_first:
            engine.start()

    return striking(house.records, moment, reboot)


def _kill_router(house: House) -> None:
    before = set(house.keystone.parts("router"))
    house.keystone.kill_part("router")
    until(
        lambda: not before & set(house.keystone.parts("router")),
        timeout=ENDS_WITHIN_S,
        what="the router has ended",
    )


def _keeper(house: House) -> int:
    """Give the process id of the router's keeper; 0 when there is none."""
    return next(iter(house.keystone.keepers()), 0)
