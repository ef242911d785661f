"""When systemd is told that Keystone is ready, by a real supervisor too."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jobs.processes.readiness import Readiness, can_accept, describe
from jobs.processes.supervise import Program
from jobs.system.notify import SOCKET, Notifier

ALL = {"redis": True, "web": True}


class Spy(Notifier):
    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.told: list[str] = []

    def _send(self, *lines: str) -> None:
        self.told += lines


class Web:
    """A web process that gives one status to everything."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked: list[str] = []
        outer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._answers = Answers
        self.port = 0

    @contextmanager
    def serving(self) -> Iterator["Web"]:
        with ThreadingHTTPServer(("127.0.0.1", 0), self._answers) as server:
            self.port = server.server_port
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def test_ready_is_told_once_pushes_are_accepted() -> None:
    spy = Spy()
    with Web(503).serving() as web:
        ours = Readiness(spy, "0.0.0.0", web.port)
        ours.look(ALL)
        assert spy.told == ["STATUS=starting: redis, web"]
        web.status = 200
        ours.look(ALL)
        ours.look(ALL)
        assert spy.told[1:] == ["READY=1", "STATUS=running: redis, web"]
        assert web.asked == ["/readyz"] * 2


def test_a_part_that_is_down_is_named_and_ready_is_not_taken_back() -> None:
    spy = Spy()
    with Web(200).serving() as web:
        ours = Readiness(spy, "127.0.0.1", web.port)
        ours.look(ALL)
        ours.look(ALL | {"web": False})
        ours.stop()
        ours.look(ALL)
    assert spy.told[2:4] == ["STATUS=running; not there yet: web", "STOPPING=1"]
    assert spy.told[4].startswith("STATUS=stopping")
    assert len(spy.told) == 5


def test_without_systemd_the_web_process_is_not_asked() -> None:
    with Web(200).serving() as web:
        Readiness(Notifier(), "127.0.0.1", web.port).look(ALL)
        assert web.asked == []


def test_what_does_not_listen_or_speak_http_does_not_accept() -> None:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert not can_accept("127.0.0.1", port)
        listener.listen()
        begun = time.monotonic()
        assert not can_accept("127.0.0.1", port)
        assert time.monotonic() - begun < 60


def test_the_state_in_words() -> None:
    assert describe(ALL, is_ready=False) == "starting: redis, web"
    assert describe(ALL | {"web": False}, is_ready=False) == "starting; not there yet: web"
    assert describe(ALL, is_ready=True) == "running: redis, web"


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


def test_the_supervisor_speaks_for_the_service_and_its_parts_cannot(
    listener: socket.socket, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    code = f"import os, time; open({str(told)!r}, 'w').write(os.environ.get('{SOCKET}', 'none')); "
    part = Program("part", (sys.executable, "-c", f"{code}time.sleep(600)"), 10)
    start = (
        "import pathlib, sys; from jobs.processes.supervise import Program, supervise, take_over; "
        "from jobs.processes.watched import Watched; data_dir = pathlib.Path(sys.argv[1]); "
        f"supervise([{part!r}], data_dir, take_over(data_dir), "
        "watched=Watched(data_dir / 'mirrors', web=('127.0.0.1', int(sys.argv[2]))))"
    )
    with Web(200).serving() as web:
        process = subprocess.Popen(
            [sys.executable, "-c", start, str(tmp_path / "data"), str(web.port)],
            env=os.environ | {SOCKET: listener.getsockname()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert listener.recv(4096) == b"READY=1"
            while listener.recv(4096) != b"STATUS=running: part":
                pass
            deadline = time.monotonic() + 60
            while not (told.exists() and told.read_text()):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert told.read_text() == "none"
            process.send_signal(signal.SIGTERM)
            while listener.recv(4096) != b"STOPPING=1":
                pass
            process.wait(60)
        finally:
            process.kill()
            process.wait(60)
