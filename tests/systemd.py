"""A machine that a real systemd runs: in namespaces of its own, on a copy of this machine's files.

systemd is the first process there. What it and its services write is in memory and gone afterwards;
the kernel's settings and devices are out of its reach. Making such a machine needs root.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.namespaces import SPACES, first_process, said, until

ROOT = Path(__file__).parents[1]
SYSTEMD = Path("/lib/systemd/systemd")
# Run as the first process of the namespaces. `$1` is an empty folder, `$2` the unit to reach, and
# `$3` the folder of this repository, which may be below one of those that are replaced.
BOOT = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
root="$1/root"
mount -t proc proc "$root/proc"
# systemd leaves the kernel's settings alone where it cannot write them.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
# None of this machine's own services, and nothing of what they have running.
for folder in run tmp etc/systemd/system etc/init.d etc/rc2.d etc/rc3.d etc/rc5.d etc/rcS.d var/log
do
  mkdir -p "$root/$folder"
  mount -t tmpfs -o mode=755 tmpfs "$root/$folder"
done
chmod 1777 "$root/tmp"
if [ ! -e "$root$3/pyproject.toml" ]; then
  mkdir -p "$root$3" "$1/upper-code" "$1/work-code"
  code="lowerdir=$3,upperdir=$1/upper-code,workdir=$1/work-code"
  mount -t overlay overlay -o "$code" "$root$3"
fi
for unit in getty.target systemd-logind.service systemd-udevd.service systemd-modules-load.service \
  systemd-tmpfiles-setup-dev.service systemd-remount-fs.service dev-hugepages.mount \
  sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount
do
  ln -s /dev/null "$root/etc/systemd/system/$unit"
done
ip link set lo up
mkdir "$root/run/old"
cd "$root"
pivot_root . run/old
umount -l /run/old
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit="$2" --show-status=false
"""


class Machine:
    """A machine with systemd.

    Attributes:
        pid: the process id of systemd, seen from outside.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(
        self, *command: object, folder: Path | None = None, code: int | None = 0
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command there as root, and check its exit code unless that is None."""
        place = [f"--wdns={folder}"] if folder else []
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--all", *place, *map(str, command)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )
        assert code in (None, done.returncode), (command, done.returncode, done.stdout, done.stderr)
        return done

    def property(self, unit: str, name: str) -> str:
        """Give what systemd knows of a unit."""
        told = self.run("systemctl", "show", "--value", f"--property={name}", unit)
        return told.stdout.strip()

    def journal(self, *options: str) -> list[str]:
        """Give the messages of the journal."""
        told = self.run("journalctl", "--no-pager", "--output=cat", *options)
        return told.stdout.splitlines()


@contextmanager
def machine_with_systemd(target: str = "multi-user.target") -> Iterator[Machine]:
    """Run such a machine until the block ends; nothing of it is left afterwards."""
    if os.geteuid() != 0:
        pytest.skip("a machine with systemd needs root: run the tests as root to have this one too")
    if not SYSTEMD.exists():
        pytest.skip("systemd is not installed")
    folder = Path(tempfile.mkdtemp(prefix="ks-"))
    spaces = (*SPACES, "--cgroup")
    try:
        with first_process(BOOT, str(folder), target, str(ROOT), spaces=spaces) as (first, outside):
            yield _booted(first, outside)
    finally:
        folder.rmdir()


def _booted(first: int, outside: "subprocess.Popen[bytes]") -> Machine:
    machine = Machine(first)

    def is_up() -> bool:
        if outside.poll() is not None:
            raise RuntimeError(f"systemd did not start: {said(outside)}")
        if Path(f"/proc/{first}/comm").read_text().strip() != "systemd":
            return False
        told = machine.run("systemctl", "is-system-running", code=None).stdout.strip()
        return told in {"running", "degraded"}

    until(is_up, what="systemd is up")
    return machine
