"""Where this Keystone is installed: the interpreter, the environment, and the folder of its code.

`.venv` is a symbolic link to one of the environments in `.venvs`, and an upgrade changes it. What
runs must not change with it, so the processes of Keystone use the path behind the link. What is
written down for later, like a unit of systemd, must use the link.
"""

import hashlib
import sys
from pathlib import Path

PACKAGES = ("jobs", "receiver", "dashboard")
LOCK, LOCK_DIGEST = "requirements.lock", ".lock-digest"  # the latter is in the environment
ENVIRONMENTS, LINK = ".venvs", ".venv"


def python() -> str:
    """Give the path of the interpreter in its environment, with no link to an environment in it."""
    # The interpreter itself is a link to the machine's Python: follow only the folder's links.
    path = Path(sys.executable)
    return str(path.parent.resolve() / path.name)


def lasting_program() -> Path:
    """Give the path of the program `keystone` that stays the same after an upgrade."""
    folder = Path(sys.executable).parent
    environment = Path(sys.prefix).resolve()
    if environment.parent.name == ENVIRONMENTS:
        link = environment.parent.with_name(LINK)
        if link.is_symlink():
            folder = link / "bin"
    return folder / "keystone"


def code_folder() -> Path:
    """Give the folder from which this process imports Keystone's packages."""
    return Path(__file__).resolve().parents[2]


def has_its_packages(code: Path) -> bool:
    """Whether this environment has the packages that the code in a folder needs.

    True if this is not known: for an environment that `make setup` did not make, and for code that
    is not a checkout.
    """
    try:
        installed = (
            (Path(sys.prefix) / LOCK_DIGEST).read_text(encoding="utf-8", errors="replace").strip()
        )
        wanted = hashlib.sha256((code / LOCK).read_bytes()).hexdigest()
    except OSError:
        return True
    return installed == wanted


def commit_of(code: Path) -> str:
    """Give the commit that is checked out in a folder; empty if that is not known."""
    try:
        git = code / ".git"
        if git.is_file():  # a worktree
            git = (
                code
                / git.read_text(encoding="utf-8", errors="replace").removeprefix("gitdir:").strip()
            )
        common = git / "commondir"
        shared = (
            (git / common.read_text(encoding="utf-8", errors="replace").strip())
            if common.exists()
            else git
        )
        head = (git / "HEAD").read_text(encoding="utf-8", errors="replace").strip()
        if not head.startswith("ref: "):
            return head[:40]
        name = head.removeprefix("ref: ")
        if (shared / name).exists():
            return (shared / name).read_text(encoding="utf-8", errors="replace").strip()[:40]
        packed = (shared / "packed-refs").read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return ""
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")[:40]
