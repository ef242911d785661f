"""The demo's own Keystone: its settings, its processes and its shutdown."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from pydantic import SecretStr

from jobs.adapters.docker.engine import DockerEngine
from jobs.demo.traffic import ask
from jobs.errors import ConfigurationError, PlatformError
from jobs.processes.configuration import read_settings
from jobs.processes.router_server import is_free
from jobs.processes.router_service import stop_router
from jobs.processes.runtime import OwnSettings, Runtime
from jobs.processes.supervise import keystone_command
from jobs.records.engine_items import on_record
from jobs.rules.naming import network_name
from jobs.settings import PREFIX, AllSettings
from jobs.system.private_folder import ensure_private

HOST = "127.0.0.1"
PORTS = range(8000, 8100)
APP_PORTS = 10
APP_PORT_RANGES = range(20000, 30000, 1000)
READY_WITHIN_S = 120
# The supervisor stops its processes one after the other, and waits 30 s for the slowest ones.
STOPS_WITHIN_S = 90
LOG_TAIL = 2000


def demo_environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Choose the environment of the demo's Keystone: free ports, and a password that never changes.

    It inherits no setting of a real Keystone, so the demo cannot touch that one.
    """
    others = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    first = _free_range()
    return others | {
        "KEYSTONE_DATA_DIR": str(folder),
        "KEYSTONE_HOST": HOST,
        "KEYSTONE_PORT": str(_free_port()),
        "KEYSTONE_PORT_RANGE": f"{first}-{first + APP_PORTS - 1}",
        "KEYSTONE_HTTP_PORT": "0",
        "KEYSTONE_HTTPS_PORT": "0",
        "KEYSTONE_ALLOWED_GIT_SCHEMES": "https,file",
        # The sample's repository is not on GitHub.
        "KEYSTONE_CATCH_UP_MINUTES": "0",
        "KEYSTONE_ADMIN_PASSWORD": _kept_password(folder).get_secret_value(),
    }


def _free_port() -> int:
    for port in PORTS:
        if is_free(HOST, port):
            return port
    raise ConfigurationError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def _free_range() -> int:
    for first in APP_PORT_RANGES:
        if all(is_free(HOST, port) for port in range(first, first + APP_PORTS)):
            return first
    raise ConfigurationError(f"no {APP_PORTS} ports in a row are free for the sample app")


def _kept_password(folder: Path) -> SecretStr:
    file = ensure_private(folder) / "admin-password"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(12), encoding="utf-8")
    return SecretStr(file.read_text(encoding="utf-8").strip())


@contextmanager
def running(folder: Path, environ: Mapping[str, str]) -> Iterator[AllSettings]:
    """Run a Keystone for as long as the block runs; its output goes to a file.

    Raises:
        PlatformError: it did not become ready.
    """
    settings = read_settings(AllSettings, environ, env_file=folder / "no.env")
    output = folder / "keystone.log"
    # `die_with_parent` leaves nothing running when the demo itself is killed.
    command = (
        sys.executable,
        "-P",
        "-m",
        "jobs.system.die_with_parent",
        str(os.getpid()),
        *keystone_command("up", "--owner", str(os.getpid())),
    )
    with output.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 — our own command line, no shell
            command,
            cwd=folder,  # a folder without a .env file
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Only the demo receives Ctrl-C; it tells the supervisor to stop when it is done.
            process_group=0,
        )
        try:
            _wait_until_ready(process, settings.effective_public_url, output)
            yield settings
        finally:
            _stop(process)
            stop_router(settings)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, output: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    seen = "it never answered"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            seen = ask(url, path="/readyz", patience_s=2)
        except (OSError, HTTPException) as exc:
            seen = str(exc)
        else:
            # It answers earlier, before the router and Docker have reported that they are up.
            if json.loads(seen)["status"] == "ok":
                return
        time.sleep(0.1)
    tail = output.read_text(errors="replace", encoding="utf-8")[-LOG_TAIL:]
    raise PlatformError(f"Keystone did not get ready: {seen}; it said:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        # The supervisor's processes die with it.
        process.kill()
        process.wait(STOPS_WITHIN_S)


def clear_engine(keystone: Runtime[OwnSettings], app: str) -> None:
    """Remove the demo's containers and network from the engine; images stay for the next run."""
    engine = DockerEngine.from_environment(keystone.identity)
    try:
        found = engine.containers()
        with keystone.database.reading() as session:
            made = on_record(session, found)
        for container in made:
            engine.stop(container.id, grace_s=2)
        engine.remove_network(network_name(keystone.identity, app))
    finally:
        engine.close()
