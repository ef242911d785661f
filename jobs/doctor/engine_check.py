"""Checks for `keystone doctor` whether the engine answers and has what containers need."""

import os
import shutil
from pathlib import Path

from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.docker.ping import is_local
from jobs.errors import KeystoneError
from jobs.rules.findings import PATIENCE_S, Finding, Verdict

NAME = "docker"
PODMAN = "Podman Engine"  # its name for the component that Docker calls "Engine"
INIT = "catatonit"
# Where Podman looks for it, besides what `init_path` in containers.conf names.
INIT_FOLDERS = "/usr/local/libexec/podman:/usr/local/lib/podman:/usr/libexec/podman:/usr/lib/podman"


def check_engine() -> Finding:
    """Report the engine's version, or why it does not answer."""
    # A placeholder identity will do: this only asks for the version.
    engine = DockerEngine.from_environment("doctor", timeout_s=PATIENCE_S)
    try:
        version, podman = engine.version(), engine.components().get(PODMAN)
    except KeystoneError as exc:
        return Finding(NAME, Verdict.FAILED, str(exc), _docker_fix())
    finally:
        engine.close()
    return _podman(podman) if podman else Finding(NAME, Verdict.OK, f"Docker Engine {version}")


def _podman(version: str) -> Finding:
    """Report whether Podman has the init that it starts containers with."""
    found = f"Podman {version}"
    if not is_local(os.environ) or shutil.which(INIT) or shutil.which(INIT, path=INIT_FOLDERS):
        return Finding(NAME, Verdict.OK, found)
    found = f"{found}, which can start no container with an init: {INIT} is not installed"
    fix = f"install {INIT}; or name another init as init_path in containers.conf, or set init=false"
    return Finding(NAME, Verdict.FAILED, found, fix)


def _docker_fix() -> str:
    if os.environ.get("DOCKER_HOST"):
        return "DOCKER_HOST names the engine; start it, or unset that"
    if shutil.which("dockerd") is None and not Path("/usr/sbin/dockerd").exists():
        return "apt-get install docker.io"
    return "start it (systemctl start docker), and be root or in the group docker"
