"""The router keeper: the process that keeps HAProxy running, whether Keystone is up or not.

`python -m jobs.processes.router_keeper --run DIR --config FILE --haproxy PROGRAM …`

It starts HAProxy from the files on the disk, so it needs neither Keystone nor its database, and it
starts HAProxy again within two seconds when HAProxy ends. HAProxy outlives the keeper: a keeper
that finds an HAProxy of this configuration adopts it. The keeper holds the lock `router.lock` for
its life, so there is one at most. It imports only the standard library and `jobs.system`.

Signals: HUP reloads HAProxy (configuration and binary); TERM and INT stop HAProxy and end; USR1
ends and leaves HAProxy running, for a newer keeper.

Source: HAProxy 2.6 Management Guide, sections 3, 4 and 9.4 (read 2026-11-30).
"""

import argparse
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from jobs.processes.router_options import (
    EXIT_TAKEN,
    GENERATION,
    LINK,
    LOCK_FILE,
    LOG_FILE,
    STATE_FILE,
    clean_environment,
    parse_options,
    read_state,
    what_is_loaded,
    write_state,
)
from jobs.system.file_lock import NotInTimeError, locked, open_lock, take
from jobs.system.haproxy_process import (
    Master,
    complaint,
    find_master,
    is_ready,
    master_command,
    point_link,
    wait_for_end,
)
from jobs.system.keeper_log import KeeperLog, tell_systemd
from jobs.system.listening import ports_of, ports_within, unbindable
from jobs.system.privileges import Rights, gain_nothing, take_on
from jobs.system.router_files import LOCK
from jobs.system.stopped import LongStopped, kill
from jobs.system.watch_times import SUPERVISOR_LOOKS_EVERY_S

ASKERS_GONE_WITHIN_S = 1.0  # `is_held` takes the lock for a moment
FILES_WITHIN_S, READY_WITHIN_S = 10.0, 15.0
STOPPED_WITHIN_S, TERMINATED_WITHIN_S = 5.0, 2.0
POLL_S = 0.01
# HAProxy that ends sooner after its start than this counts as a failed start.
LIVED_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
# HAProxy 2.6 writes such a line for each of its proxies when it stops: a thousand per reload.
NOISE = (b" stopped (cumulated conns: ", b"[NOTICE]")


class Keeper:
    """Keeps one HAProxy running.

    Args:
        options: the parsed command line.
        log: where messages go.
    """

    def __init__(self, options: argparse.Namespace, log: KeeperLog) -> None:
        self._options = options
        self._run: Path = options.run
        self._config: Path = options.config
        self._link = self._run / LINK
        self._master_socket: Path = options.master  # for the user that may use it
        # Root without the right to override permissions cannot connect to another user's socket.
        self._own_socket = self._master_socket.with_name("keeper.sock")
        sockets = (self._master_socket, self._own_socket)
        self._command = master_command(self._link, self._config, *sockets, admin=options.admin)
        self._log = log
        self._master: Master | None = None
        self._wanted: str | None = None  # "stop" or "leave": why the keeper ends
        self._reload_asked = False
        self._reloads, self._reload_error, self._trouble = 0, "", ""
        self._loaded: dict[str, list[Any]] = {"binary": [], "ports": []}
        self._failures, self._next_start = 0, 0.0
        self._told: deque[str] = deque(maxlen=20)
        self._stopped = LongStopped()
        self._owner: int | None = None
        self._next_look = 0.0
        self._output, self._input = os.pipe()
        self._alarm, self._wake = os.pipe()
        # HAProxy must never wait for a keeper that does not read.
        for end in (self._output, self._input, self._alarm, self._wake):
            os.set_blocking(end, False)

    def run(self, owner: int | None) -> None:
        """Keep HAProxy running until a signal or the owner's end.

        Args:
            owner: when this process ends, stop HAProxy and end.
        """
        self._listen_to_signals()
        self._owner = self._open_owner(owner)
        self._adopt()
        while self._wanted is None:
            if self._master is None and time.monotonic() >= self._next_start:
                self._start()
            if self._reload_asked:
                self._reload_asked = False
                self._reload()
            self._wait()
            self._look_after()
        if self._wanted == "stop":
            self.stop()

    def _wait(self) -> None:
        """Wait for a signal, output, the end of HAProxy or of the owner, or the next task."""
        master = self._master
        wanted = [self._alarm, self._output]
        wanted += [self._owner] if self._owner is not None else []
        wanted += [master.pidfd] if master else []
        poll = select.poll()
        for descriptor in wanted:
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(self._pause_ms())}
        with suppress(BlockingIOError):
            os.read(self._alarm, 4096)
        self._read_output()
        if self._owner in ready:
            self._log.say("the owner has ended")
            self._wanted = "stop"
        if master and master.pidfd in ready:
            self._note_end(master)

    # --- Starting and adopting ---------------------------------------------------------------

    def _adopt(self) -> None:
        found = find_master(self._config)
        if found is None:
            return
        self._master = found
        known = {name: read_state(self._run).get(name) for name in self._loaded}
        self._loaded = {name: each for name, each in known.items() if isinstance(each, list)}
        self._log.say(f"adopted HAProxy {found.pid}, which was running")
        self._give_sockets()
        self._note()

    def _start(self) -> None:
        if found := find_master(self._config):
            # A keeper that was killed right after its start of HAProxy.
            self._master = found
            self._note()
            return
        try:
            with locked(self._config.parent / LOCK, patience_s=FILES_WITHIN_S):
                self._start_locked()
        except (NotInTimeError, OSError) as exc:
            self._fail(f"the files of the router are not accessible: {exc}")

    def _start_locked(self) -> None:
        point_link(self._link, self._options.haproxy)
        loaded = what_is_loaded(self._link, self._config)
        child = subprocess.Popen(  # noqa: S603 — our own command line, no shell
            self._command,
            cwd="/",
            env=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=self._input,
            stderr=self._input,
            start_new_session=True,  # Ctrl-C at a terminal is for the keeper
        )
        self._master = Master.of_child(child)
        self._loaded = loaded
        is_serving = self._wait_until_ready(self._master, reloads=0)
        self._give_sockets()
        if is_serving:
            self._log.say(f"HAProxy {child.pid} runs")
            self._trouble = ""
        self._note()

    def _asked(self) -> Path:
        # An HAProxy that an earlier keeper has started has no such socket.
        return self._own_socket if self._own_socket.exists() else self._master_socket

    def _wait_until_ready(self, master: Master, *, reloads: int) -> bool:
        """Wait until HAProxy serves, has failed or has ended."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self._wanted is None and not master.has_ended():
            self._read_output()
            found = is_ready(self._asked(), reloads=reloads)
            if found is not None:
                return found
            time.sleep(POLL_S)
        return False

    def _note_end(self, master: Master) -> None:
        lived, how = master.age_s(), master.end()
        self._master = None
        if lived < LIVED_S:
            self._fail(f"HAProxy ended {how} soon after its start: {self._last_words()}")
        else:
            self._failures = 0
            self._log.say(f"HAProxy ended {how}; it is started again. {self._last_words()}")
        self._note()

    def _fail(self, why: str) -> None:
        self._failures += 1
        pause = min(FIRST_PAUSE_S * 2 ** (self._failures - 1), LONGEST_PAUSE_S)
        self._next_start = time.monotonic() + pause
        if why != self._trouble or self._failures % 30 == 0:
            self._log.say(why)
        self._trouble = why
        self._note()

    def _last_words(self) -> str:
        alerts = [line for line in self._told if "[ALERT]" in line]
        self._told.clear()
        return " ".join(alerts[:3])[:600]

    # --- Reload ------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Let HAProxy load its configuration and its binary again, without losing a request."""
        try:
            error = self._reload_locked()
        except (NotInTimeError, OSError) as exc:
            error = f"the files of the router are not accessible: {exc}"
        self._reloads += 1
        self._reload_error = error
        self._log.say(f"the reload failed: {error}" if error else "HAProxy was reloaded")
        self._note()

    def _reload_locked(self) -> str:
        """Give the reason when the reload failed."""
        master = self._master
        if master is None:
            self._failures, self._next_start = 0, 0.0
            self._start()
            return self._trouble
        with locked(self._config.parent / LOCK, patience_s=FILES_WITHIN_S):
            point_link(self._link, self._options.haproxy)
            # Root may lack the right to look at other processes: then it knows what it has noted.
            seen = ports_of(master.family)
            own = seen or ports_within(self._loaded.get("ports", []))
            error = complaint(self._link, self._config, clean_environment(os.environ))
            if error := error or unbindable(self._config, own):
                return error
            loaded = what_is_loaded(self._link, self._config)
            before = master.reloads(self._asked())
            master.send(signal.SIGUSR2)
            self._told.clear()
            is_serving = self._wait_until_ready(master, reloads=before + 1)
            self._give_sockets()
            if is_serving:
                self._loaded = loaded
                return ""
            return self._last_words() or "HAProxy does not answer; the old configuration serves"

    def _give_sockets(self) -> None:
        """Give the sockets to the user that may use them; HAProxy keeps an old socket's owner."""
        admin = self._options.admin
        if admin:
            for socket in (self._master_socket, self._options.api):
                with suppress(OSError):
                    shutil.chown(socket, admin, admin)

    # --- Ending ------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop HAProxy; requests that are under way get a few seconds."""
        master = self._master or find_master(self._config)
        if master is None:
            return
        for number, within_s in (
            (signal.SIGUSR1, STOPPED_WITHIN_S),
            (signal.SIGTERM, TERMINATED_WITHIN_S),
        ):
            master.send(number)
            if wait_for_end(master, within_s):
                break
        else:
            kill(reversed(master.family))
            wait_for_end(master, TERMINATED_WITHIN_S)
        self._log.say("HAProxy is stopped")
        (self._run / STATE_FILE).unlink(missing_ok=True)

    # --- The loop's parts --------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, self._take_signal)

    def _take_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._reload_asked = True
        elif number == signal.SIGUSR1:
            self._wanted = self._wanted or "leave"
        else:
            self._wanted = "stop"

    def _open_owner(self, owner: int | None) -> int | None:
        if owner is None:
            return None
        try:
            return os.pidfd_open(owner)
        except OSError:
            self._log.say("the owner has ended before the start")
            self._wanted = "stop"
            return None

    def _pause_ms(self) -> int:
        soonest = self._next_look if self._master else min(self._next_look, self._next_start)
        return max(int((soonest - time.monotonic()) * 1000), 1)

    def _read_output(self) -> None:
        """Pass on what HAProxy has written, without the noise."""
        with suppress(BlockingIOError):
            while piece := os.read(self._output, 1 << 16):
                for line in piece.splitlines():
                    if line.strip() and not any(noise in line for noise in NOISE):
                        text = line.decode(errors="replace")
                        self._told.append(text)
                        self._log.say(f"HAProxy: {text}")

    def _look_after(self) -> None:
        """Kill what was stopped (SIGSTOP) for long, every few seconds."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + SUPERVISOR_LOOKS_EVERY_S
        self._log.rotate()
        if self._master is None:
            return
        frozen = self._stopped.among(self._master.family)
        for pid in frozen:
            self._log.say(f"killed {pid} of HAProxy: it was stopped")
        kill(frozen)

    def _note(self) -> None:
        """Write what runs, for `keystone doctor` and the supervisor."""
        state = {
            "keeper": os.getpid(),
            "generation": GENERATION,
            "user": os.getuid(),
            "command": sys.argv[1:],
            "haproxy": self._master.pid if self._master else 0,
            "haproxy_since": self._master.started_at if self._master else 0,
            **self._loaded,
            "reloads": self._reloads,
            "reload_error": self._reload_error,
            "trouble": "" if self._master else self._trouble,
        }
        tell_systemd(state["haproxy"], self._trouble or self._reload_error)
        write_state(self._run, state)


def main(arguments: Sequence[str]) -> NoReturn:
    """Run the keeper; exit with `EXIT_TAKEN` when there is another one."""
    options = parse_options(arguments)
    reader, writer = os.pipe()
    if options.detach:
        if os.fork():
            os.close(writer)
            answer = os.read(reader, 1)
            os._exit(answer[0] if answer else 1)
        os.setsid()
    os.close(reader)
    lock = open_lock(options.run / LOCK_FILE)
    if not take(lock, patience_s=ASKERS_GONE_WITHIN_S):
        os.write(writer, bytes([EXIT_TAKEN]))
        sys.exit(EXIT_TAKEN)
    log = KeeperLog(options.run / LOG_FILE if options.detach else None)
    if options.rights:
        take_on(Rights.from_text(options.rights))
    else:
        gain_nothing()
    keeper = Keeper(options, log)
    if options.detach:
        os.write(writer, b"\0")
    os.close(writer)
    keeper.stop() if options.stop else keeper.run(options.owner)
    os.close(lock)
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
