"""Checks for `keystone doctor` whether the engine answers and has what containers need."""

import os
import shutil
from pathlib import Path

from jobs.adapters.docker.engine import DockerEngine
from jobs.errors import KeystoneError
from jobs.rules.findings import PATIENCE_S, Finding, Verdict


def check_engine() -> Finding:
    """Report the engine's version, or why it does not answer."""
    try:
        # A placeholder identity will do: this only asks for the version.
        engine = DockerEngine.from_environment("doctor", timeout_s=PATIENCE_S)
        try:
            return Finding("docker", Verdict.OK, f"Docker Engine {engine.version()}")
        finally:
            engine.close()
    except KeystoneError as exc:
        return Finding("docker", Verdict.FAILED, str(exc), _docker_fix())


def _docker_fix() -> str:
    if os.environ.get("DOCKER_HOST"):
        return "DOCKER_HOST names the engine; start it, or unset that"
    if shutil.which("dockerd") is None and not Path("/usr/sbin/dockerd").exists():
        return "apt-get install docker.io"
    return "start it (systemctl start docker), and be root or in the group docker"
