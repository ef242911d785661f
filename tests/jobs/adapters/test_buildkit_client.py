"""A whole build against an engine played by the test, for what a real one seldom does."""

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jobs.adapters.buildkit.client import BuildKit, NoSessionError
from jobs.adapters.buildkit.transport import Address
from jobs.errors import BuildError, CancelledError, DockerError
from jobs.rules.container_values import BuildSpec
from jobs.rules.stopping import StopSignal
from tests.trees import MemoryTree

UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
IMAGE = {"id": "moby.image.id", "aux": {"ID": "sha256:abc"}}


def chunk(*messages: object) -> bytes:
    body = b"".join(json.dumps(message).encode() + b"\r\n" for message in messages)
    return b"%x\r\n%s\r\n" % (len(body), body)


class Engine:
    """Answers a session's and a build's request with given bytes, then hangs up or stays."""

    def __init__(
        self, listener: socket.socket, build: bytes, *, session: bytes, stays: bool
    ) -> None:
        self._listener = listener
        self._answers = {b"/session": session, b"/build": build}
        self._stays = stays
        self._open: list[socket.socket] = []
        self.requests: list[bytes] = []
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (more := connection.recv(65536)):
                return  # given up before it was asked anything
            head += more
        self.requests.append(head)
        name = b"/session" if b"/session" in head.split(b"\r\n")[0] else b"/build"
        connection.sendall(self._answers[name])
        if name == b"/build" and not self._stays:
            connection.close()

    def close(self) -> None:
        # `shutdown` wakes the thread that accepts; `close` alone would not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.thread.join(60)
        for connection in self._open:
            connection.close()


@contextmanager
def engine(
    folder: Path, build: bytes, *, session: bytes = UPGRADED, stays: bool = False
) -> Iterator[tuple[Engine, BuildKit]]:
    path = folder / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        playing = Engine(listener, build, session=session, stays=stays)
        try:
            yield playing, BuildKit(Address(socket_path=str(path)), "1.41")
        finally:
            playing.close()


def built(
    kit: BuildKit, *, deadline_s: float = 60, stop: StopSignal | None = None, cgroup: str = ""
) -> str:
    spec = BuildSpec(
        "web:1", "Dockerfile", {"a": "b"}, cache_key="web", deadline_s=deadline_s, cgroup=cgroup
    )
    tree = MemoryTree({"Dockerfile": "FROM scratch"})
    return kit.build(spec, tree, log=lambda _line: None, stop=stop or StopSignal())


def test_image_id_is_what_the_engine_says(tmp_path: Path) -> None:
    with engine(tmp_path, STREAM + chunk({"stream": "x"}, IMAGE) + b"0\r\n\r\n") as (seen, kit):
        assert built(kit) == "sha256:abc"

    session, build = seen.requests
    assert session.startswith(b"POST /v1.41/session HTTP/1.1\r\n")
    assert b"X-Docker-Expose-Session-Sharedkey: web\r\n" in session
    assert b"remote=client-session" in build
    assert b"dockerfile=Dockerfile" in build


def test_message_split_over_chunks_is_put_together(tmp_path: Path) -> None:
    body = json.dumps(IMAGE).encode() + b"\n"
    halves = b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in (body[:9], body[9:]))
    with engine(tmp_path, STREAM + halves + b"0\r\n\r\n") as (_, kit):
        assert built(kit) == "sha256:abc"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        STREAM,
        STREAM + b"40\r\n{",
        STREAM + chunk({"stream": "x"}),
        STREAM + chunk({"stream": "x"}) + b"0\r\n\r\n",
    ],
)
def test_engine_that_dies_in_the_middle_is_a_docker_error(tmp_path: Path, answer: bytes) -> None:
    with engine(tmp_path, answer) as (_, kit), pytest.raises(DockerError, match="went away"):
        built(kit)


def test_notes_before_the_answer_are_passed_over(tmp_path: Path) -> None:
    notes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nA: b\r\n\r\n"
    answer = STREAM + chunk(IMAGE) + b"0\r\n\r\n"
    with engine(tmp_path, notes + answer, session=notes + UPGRADED) as (_, kit):
        assert built(kit) == "sha256:abc"


def test_answer_without_a_length_ends_with_its_connection(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(IMAGE).encode() + b"\n"
    with engine(tmp_path, answer) as (_, kit):
        assert built(kit) == "sha256:abc"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n\r\n",
        STREAM + b"zz\r\n",
        STREAM + b"2\r\n{}zz",
        STREAM + b"1;" + b"x" * 200_000,
        STREAM + b"f" * 30 + b"\r\n",
        b"HTTP/1.1 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nX\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"\r\n\r\n",
        UPGRADED,
    ],
)
def test_something_that_is_no_engine_is_a_docker_error(tmp_path: Path, answer: bytes) -> None:
    with engine(tmp_path, answer) as (_, kit), pytest.raises(DockerError, match="does not speak"):
        built(kit)


def test_refusal_is_passed_on(tmp_path: Path) -> None:
    body = b'{"message":"dockerfile parse error"}'
    head = b"HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n" % len(body)
    with engine(tmp_path, head + body) as (_, kit), pytest.raises(DockerError, match="parse error"):
        built(kit)


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (404, NoSessionError, "has no build sessions"),
        (501, NoSessionError, "has no build sessions"),
        (500, DockerError, r"refused a build session \(500\)"),
    ],
)
def test_engine_without_sessions_is_told_from_one_that_refuses(
    tmp_path: Path, status: int, error: type[DockerError], told: str
) -> None:
    refusal = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    with (
        engine(tmp_path, b"", session=refusal) as (_, kit),
        pytest.raises(error, match=told),
    ):
        built(kit)


def test_absent_engine_is_a_docker_error(tmp_path: Path) -> None:
    with pytest.raises(DockerError, match="does not answer; is it running"):
        built(BuildKit(Address(socket_path=str(tmp_path / "none.sock")), "1.41"))


def test_failed_build_is_a_build_error(tmp_path: Path) -> None:
    message = {"errorDetail": {"message": "failed to solve: nothing to do"}, "error": "x"}
    with (
        engine(tmp_path, STREAM + chunk(message)) as (_, kit),
        pytest.raises(BuildError, match="the build failed: nothing to do"),
    ):
        built(kit)


@pytest.mark.parametrize("aux", ["abc", base64.b64encode(b"\xff\xff").decode()])
def test_unknown_progress_is_a_docker_error(tmp_path: Path, aux: str) -> None:
    message = {"id": "moby.buildkit.trace", "aux": aux}
    with (
        engine(tmp_path, STREAM + chunk(message)) as (_, kit),
        pytest.raises(DockerError, match="unknown form"),
    ):
        built(kit)


def test_silent_engine_is_left_at_the_deadline(tmp_path: Path) -> None:
    with (
        engine(tmp_path, b"", stays=True) as (_, kit),
        pytest.raises(BuildError, match=r"longer than 0\.3 s"),
    ):
        built(kit, deadline_s=0.3)


def test_silent_engine_is_left_when_the_work_is_stopped(tmp_path: Path) -> None:
    stop = StopSignal()
    timer = threading.Timer(0.2, stop.set, args=(CancelledError("enough"),))
    started = time.monotonic()
    with engine(tmp_path, STREAM, stays=True) as (_, kit):
        timer.start()
        with pytest.raises(CancelledError, match="enough"):
            built(kit, stop=stop)
        timer.join()
    assert time.monotonic() - started < 30


def certificate(folder: Path) -> Path:
    """Make a key and a certificate for 127.0.0.1, both in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "engine")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "engine.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.mark.parametrize("encrypted", [False, True])
def test_engine_may_listen_on_tcp_with_or_without_tls(
    tmp_path: Path,
    encrypted: bool,  # noqa: FBT001
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    trust = None
    if encrypted:
        pem = certificate(tmp_path)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pem)
        listener = server.wrap_socket(listener, server_side=True)
        trust = ssl.create_default_context(cafile=pem)
    playing = Engine(listener, STREAM + chunk(IMAGE) + b"0\r\n\r\n", session=UPGRADED, stays=True)
    try:
        assert built(BuildKit(Address(host="127.0.0.1", port=port, tls=trust), "1.41"))
    finally:
        playing.close()


# --- The builder's own control service -------------------------------------------------------

SETTINGS = b"\0\0\0\4\0\0\0\0\0"  # an empty frame of HTTP/2's settings
GOODBYE = b"\0\0\x08\7" + bytes(5) + bytes(8)  # the other side ends the connection


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Give a frame of HTTP/2."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "does not speak HTTP|went away"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", r"refused its builder \(404\)"),
        (UPGRADED, "went away in the middle"),
        (UPGRADED + SETTINGS, "went away in the middle"),
        (UPGRADED + SETTINGS + GOODBYE, "went away in the middle"),
        # Settings of an impossible length.
        (UPGRADED + b"\0\0\5\4\0\0\0\0\0abcde", "does not speak gRPC"),
        # Data for a call that we have not made.
        (UPGRADED + SETTINGS + frame(0, 0, 9, b"x"), "does not speak gRPC"),
    ],
)
def test_control_service_that_does_not_do_its_part(
    tmp_path: Path, answer: bytes, told: str
) -> None:
    stays = "gRPC" in told
    with (
        engine(tmp_path, answer, stays=stays) as (seen, kit),
        pytest.raises(DockerError, match=told),
    ):
        built(replace(kit, in_cgroup=True), cgroup="keystone-any")
    assert seen.requests[-1].startswith(b"POST /v1.41/grpc HTTP/1.1\r\n")


def test_control_service_that_refuses_both_calls(tmp_path: Path) -> None:
    # grpc-status 12, in headers that are the whole answer, written out without compression.
    fields = ((b":status", b"200"), (b"grpc-status", b"12"), (b"grpc-message", b"not%20today"))
    head = b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields
    )
    answer = UPGRADED + SETTINGS + frame(1, 5, 1, head) + frame(1, 5, 3, head)
    with (
        engine(tmp_path, answer, stays=True) as (_, kit),
        pytest.raises(BuildError, match=r"^the build failed: not today$"),
    ):
        built(replace(kit, in_cgroup=True), cgroup="keystone-any")
