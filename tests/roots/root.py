"""A root with a freshly installed distribution, and namespaces in which programs run on it.

Roots are made by debootstrap, once, below a cache folder outside the checkout; what runs in one
writes into a layer above it. Its processes have a network of their own, in which nothing else
listens, and the engine that they start keeps everything in memory.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.namespaces import first_process, said, until
from tests.roots.distributions import TRIXIE, Distribution, NotToBeHadError, mirror_of
from tests.roots.way_out import URL, way_out

ROOT = Path(__file__).parents[2]
CACHE = Path(
    os.environ.get("ROOTS_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keystone-roots"
)
CODE = "/srv/keystone"  # where the checkout is inside
DEBIANS_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
UBUNTUS_KEYS = "usr/share/keyrings/ubuntu-archive-keyring.gpg"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# What a person has before Keystone: the command to begin with, and what https:// needs.
INCLUDED = "ca-certificates,make"
MAKING_WITHIN_S = 900
RUNNING_WITHIN_S = 900
# Run as the first process of the namespaces. `$1` is an empty folder, `$2` the lower layers, `$3`
# the upper one (in memory if empty), and `$4` and `$5` are the caches of apt and pip.
BOOT = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/root"
upper=${3:-$1/layer}
mkdir -p "$upper/upper" "$upper/work"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$upper/upper,workdir=$upper/work" "$1/root"
root="$1/root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
# An engine cannot keep its own layers on such layers as these.
for folder in run tmp dev/shm var/lib/docker var/lib/containerd; do
  mkdir -p "$root/$folder"
  mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"
done
chmod 755 "$root/run"
mkdir -p "$root/var/cache/apt/archives" "$root/var/cache/pip"
mount --bind "$4" "$root/var/cache/apt/archives"
mount --bind "$5" "$root/var/cache/pip"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
ip link set lo up
mkdir "$root/run/old"
cd "$root"
pivot_root . run/old
umount -l /run/old
rmdir /run/old
touch /run/booted
# The first process waits for its children, and so for everybody's orphans.
while :; do sleep 1000 & wait $!; done
"""


class Root:
    """A running root.

    Attributes:
        pid: its first process, seen from outside.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def files(self) -> Path:
        """Its files, seen from outside."""
        return Path(f"/proc/{self.pid}/root")

    def run(
        self,
        *command: str,
        log: Path,
        folder: str = "/",
        variables: Mapping[str, str] | None = None,
        within_s: float = RUNNING_WITHIN_S,
    ) -> int:
        """Run a command as root, add its output to a file, and give its exit code."""
        inside = ["nsenter", "--target", str(self.pid), "--all", f"--wdns={folder}"]
        with log.open("ab") as output:
            done = subprocess.run(
                [*inside, "env", "-i", *_assigned(variables or {}), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=within_s,
                check=False,
            )
        return done.returncode

    def told(self, *command: str) -> str:
        """Give what a command prints."""
        with tempfile.NamedTemporaryFile() as file:
            self.run(*command, log=Path(file.name))
            return Path(file.name).read_text().strip()

    @contextmanager
    def outside_world(self) -> Iterator[Mapping[str, str]]:
        """Let programs reach apt's and pip's servers; gives the variables that tell them how."""
        hidden = self.files / "run" / "certificates.crt"
        shutil.copy(CERTIFICATES, hidden)
        with way_out(self.pid):
            yield {
                "http_proxy": URL,
                "https_proxy": URL,
                "no_proxy": "127.0.0.1,localhost",
                "PIP_CERT": "/run/certificates.crt",
                "PIP_CACHE_DIR": "/var/cache/pip",
            }

    def take_code(self) -> None:
        """Copy this checkout, with what is not committed yet."""
        (self.files / CODE.lstrip("/")).mkdir(parents=True, exist_ok=True)
        listed = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
        names = subprocess.run(listed, capture_output=True, check=True, timeout=60).stdout
        there = [
            name for name in names.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists()
        ]
        packed = subprocess.run(
            ["tar", "-C", str(ROOT), "--null", "-T", "-", "-c"],
            input=b"\0".join(there),
            capture_output=True,
            check=True,
            timeout=60,
        )
        place = f"{self.files}{CODE}"
        unpack = ["tar", "-C", place, "--no-same-owner", "-x"]
        subprocess.run(unpack, input=packed.stdout, check=True, timeout=60)


@contextmanager
def running_root(lower: Sequence[Path], *, upper: Path | None = None) -> Iterator[Root]:
    """Run a root until the block ends.

    Args:
        lower: the layers that are only read, the topmost first.
        upper: a folder on disk for what is written; None: it is in memory, and gone afterwards.
    """
    folder = Path(tempfile.mkdtemp(prefix="ks-"))
    # apt lets one process at a time use a cache.
    caches = [_folder(f"archives-{lower[-1].name}"), _folder("pip")]
    layers = ":".join(map(str, lower))
    given = (str(folder), layers, str(upper or ""), *map(str, caches))
    try:
        with first_process(BOOT, *given) as (first, outside):
            root = Root(first)

            def is_up() -> bool:
                if outside.poll() is not None:
                    raise RuntimeError(f"the root did not start: {said(outside)}")
                return (root.files / "run" / "booted").exists()

            until(is_up, what="the root has started")
            yield root
    finally:
        folder.rmdir()


def clean_root(distribution: Distribution) -> Path:
    """Give the folder with a freshly installed distribution; make it the first time.

    Raises:
        NotToBeHadError: it cannot be had on this machine.
    """
    made = CACHE / f"base-{distribution.suite}"
    with alone():
        if not made.exists():
            _make(distribution, made)
    return made


def _make(distribution: Distribution, wanted: Path) -> None:
    if os.geteuid() != 0:
        raise NotToBeHadError("only root can make a root")
    if shutil.which("debootstrap") is None:
        raise NotToBeHadError("debootstrap is not installed: apt-get install debootstrap")
    mirror = mirror_of(distribution)
    keys = _keys(distribution)
    unfinished = wanted.with_name(f"{wanted.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [
        *("debootstrap", "--variant=minbase", f"--include={INCLUDED}", f"--keyring={keys}"),
        *(f"--components={','.join(distribution.components)}",),
        *(
            f"--cache-dir={_folder(f'archives-{wanted.name}')}",
            distribution.suite,
            str(unfinished),
            mirror,
        ),
        f"/usr/share/debootstrap/scripts/{distribution.script}",
    ]
    log = CACHE / f"{wanted.name}.log"
    with log.open("wb") as output:
        done = subprocess.run(
            command, stdout=output, stderr=output, timeout=MAKING_WITHIN_S, check=False
        )
    if done.returncode:
        raise NotToBeHadError(f"debootstrap of {distribution.name} failed; see {log}")
    unfinished.rename(wanted)


def _keys(distribution: Distribution) -> Path:
    """Give the keys that sign a distribution; Debian has Ubuntu's in a package."""
    if distribution.family == "debian":
        return DEBIANS_KEYS
    installed = Path("/") / UBUNTUS_KEYS
    kept = CACHE / "keys" / UBUNTUS_KEYS
    if installed.exists() or kept.exists():
        return installed if installed.exists() else kept
    base = CACHE / f"base-{TRIXIE.suite}"
    if not base.exists():
        _make(TRIXIE, base)
    log = CACHE / "keys.log"
    with running_root([base]) as root, root.outside_world() as world:
        for command in (("apt-get", "update"), ("apt-get", "download", "ubuntu-keyring")):
            if root.run(*command, log=log, folder="/tmp", variables=world):  # noqa: S108
                raise NotToBeHadError(f"Ubuntu's keys cannot be had from Debian; see {log}")
        (package,) = (root.files / "tmp").glob("ubuntu-keyring_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, CACHE / "keys"], check=True, timeout=60)
    return kept


def _folder(name: str) -> Path:
    folder = CACHE / name
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time make a root."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _assigned(variables: Mapping[str, str]) -> list[str]:
    own = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
    }
    return [f"{name}={value}" for name, value in {**own, **variables}.items()]
