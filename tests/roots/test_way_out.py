"""The way out of a network namespace, and the hosts that are asked for a distribution."""

import http.client
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.roots import distributions
from tests.roots.distributions import BOOKWORM, NOBLE, NotToBeHadError, mirror_of
from tests.roots.way_out import PORT, way_out


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        found = self.path.startswith(("/debian/dists/bookworm/", "/mine/dists/noble/"))
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        body = f"outside: {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def outside() -> Iterator[str]:
    """A server on this machine's own loopback, which no other namespace reaches."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(60)


def inside(pid: int, code: str) -> str:
    """Run Python code in the network of a process, and give what it prints."""
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "python3", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network")
def test_both_kinds_of_request_reach_a_server_outside(outside: str) -> None:
    plain = (
        f"import http.client; c = http.client.HTTPConnection('127.0.0.1', {PORT}, timeout=30);"
        f"c.request('GET', 'http://{outside}/a?b=c', headers={{'Host': '{outside}'}});"
        "print(c.getresponse().read().decode())"
    )
    tunnel = (
        f"import http.client; c = http.client.HTTPConnection('127.0.0.1', {PORT}, timeout=30);"
        f"c.set_tunnel('127.0.0.1', {outside.rpartition(':')[2]}); c.request('GET', '/t');"
        "print(c.getresponse().read().decode())"
    )
    sleeping = ["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep 600"]
    with subprocess.Popen(sleeping, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            with way_out(process.pid):
                assert inside(process.pid, plain) == "outside: /a?b=c\n"
                assert inside(process.pid, tunnel) == "outside: /t\n"
        finally:
            process.kill()
    with pytest.raises(OSError, match="refused"):
        http.client.HTTPConnection("127.0.0.1", PORT, timeout=5).connect()


def test_apts_own_hosts_are_asked_for_each_family(
    outside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sites(_family: str) -> Iterator[str]:
        yield f"http://{outside}/nothing"
        yield f"http://{outside}/debian"

    monkeypatch.setattr(distributions, "_candidates", sites)
    assert mirror_of(BOOKWORM) == f"http://{outside}/debian"
    with pytest.raises(NotToBeHadError, match=r"Ubuntu 24\.04 is on none .*ROOTS_MIRROR_UBUNTU"):
        mirror_of(NOBLE)


def test_an_address_of_ones_own_is_used(outside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTS_MIRROR_UBUNTU", f"http://{outside}/mine/")
    assert mirror_of(NOBLE) == f"http://{outside}/mine"
