"""Names the space of process ids that this process lives in: a PID namespace of one boot.

Two processes that compute the same name see each other's process ids. The name tells apart
everything that is known to differ between two machines, because a needless difference is harmless
and a wrong match is not: whoever finds a process id of its own space unused takes that process for
dead. Nothing suffices alone. Every Linux machine gives its first PID namespace the same number.
Copies of one disk image have the same machine id and often the same host name; copies of a running
virtual machine have the same boot id, too, until the next boot.

Source: https://www.freedesktop.org/software/systemd/man/latest/machine-id.html says that a machine
id must not leave the machine as it is, hence the digest. random(4) describes `boot_id`.
"""

import hashlib
import secrets
import socket
from pathlib import Path

ROOT = Path("/")
BOOT_ID = Path("proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("proc/self/ns/pid")
MACHINE_IDS = (Path("etc/machine-id"), Path("var/lib/dbus/machine-id"))
LONGEST_ID = 128  # characters

# Names the space of a process that cannot find it out: its forked children have it, nobody else.
_OWN = secrets.token_hex(6)


def pid_space(root: Path = ROOT) -> str:
    """Name this process's space of process ids; at most 100 characters.

    Args:
        root: where `/proc` and `/etc` are.
    """
    name = socket.gethostname()[:64]
    boot = _first_line(root / BOOT_ID)
    namespace = _number_of(root / PID_NAMESPACE)
    # Containers and chroots often have no machine id: the boot id suffices on all but copies.
    if not boot or not namespace:
        return f"{name}:{_OWN}"
    machine = next(filter(None, (_first_line(root / each) for each in MACHINE_IDS)), "")
    digest = hashlib.sha256(f"keystone {machine} {boot}".encode()).hexdigest()[:12]
    return f"{name}:{digest}:{namespace}"


def _first_line(path: Path) -> str:
    try:
        with path.open(errors="replace") as file:
            return file.readline(LONGEST_ID).strip()
    except OSError:
        return ""


def _number_of(namespace: Path) -> int:
    try:
        return namespace.stat().st_ino
    except OSError:  # not Linux, or no /proc
        return 0
