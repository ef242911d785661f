"""A small image registry on this machine that lets in nobody without the password.

It holds one image, `private:1`, of one layer with one file. Loopback registries may be plain HTTP.
"""

import base64
import gzip
import hashlib
import io
import json
import platform
import secrets
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USER, PASSWORD = "ada", "pull-me-in-1843"
FILE, CONTENT = "private.txt", "from the private image\n"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), "amd64")
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass
class Registry:
    """A running registry.

    Attributes:
        users: who was let in, once for each request.
        refusals: how many requests were not.
    """

    host: str
    users: list[str] = field(default_factory=list)
    refusals: int = 0

    @property
    def image(self) -> str:
        """The name of the image it holds."""
        return f"{self.host}/private:1"

    @property
    def auth(self) -> str:
        """The password as the docker command line writes it down."""
        return base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@contextmanager
def running_registry() -> Iterator[Registry]:
    """Run a registry for the length of the block."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        registry = server.registry = Registry(f"127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join(5)


def _contents(stamp: str) -> dict[str, tuple[str, bytes]]:
    """Give what is served below /v2/private/: its type and bytes, by path."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, text in ((FILE, CONTENT), ("stamp", stamp)):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    layer = gzip.compress(tar.getvalue(), mtime=0)
    rootfs = {"type": "layers", "diff_ids": [_digest(tar.getvalue())]}
    config = json.dumps({"architecture": ARCHITECTURE, "os": "linux", "rootfs": rootfs}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _described(CONFIG, config),
        "layers": [_described(LAYER, layer)],
    }
    told = json.dumps(manifest).encode()
    return {
        "manifests/1": (MANIFEST, told),
        f"manifests/{_digest(told)}": (MANIFEST, told),
        f"blobs/{_digest(config)}": (CONFIG, config),
        f"blobs/{_digest(layer)}": (LAYER, layer),
    }


def _described(kind: str, data: bytes) -> dict[str, str | int]:
    return {"mediaType": kind, "size": len(data), "digest": _digest(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class _Server(ThreadingHTTPServer):
    registry: Registry

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        # Its own content each time: the engine keeps what it has pulled once, and asks no more.
        self.contents = _contents(secrets.token_hex(8))


class _Handler(BaseHTTPRequestHandler):
    # An engine that tries TLS first goes on with HTTP only if the refusal has a status line.
    default_request_version = "HTTP/1.0"
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        registry = self.server.registry
        if self.headers.get("Authorization") != f"Basic {registry.auth}":
            registry.refusals += 1
            self._answer(401, "text/plain", b"who are you?")
            return
        registry.users.append(USER)
        name = self.path.removeprefix("/v2/private/")
        kind, data = self.server.contents.get(name, ("", b""))
        self._answer(200 if kind or self.path == "/v2/" else 404, kind or "text/plain", data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if kind == MANIFEST:
            self.send_header("Docker-Content-Digest", _digest(data))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the tests' output quiet."""
