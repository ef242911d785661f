"""An installation of Keystone that every user of this machine can reach.

Where root starts it from such a place, its parts run as users of their own. The tests' own place
may be anywhere: a checkout in root's home, a Python of root's; pytest's folders are root's alone.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("receiver", "jobs", "dashboard")
NOBODY = 65534
PATIENCE_S = 120

only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become other users")


@dataclass(frozen=True)
class Place:
    """A folder that everybody may enter, and an installation.

    Attributes:
        python: the interpreter that finds Keystone and all that it needs.
    """

    folder: Path
    python: Path

    @property
    def keystone(self) -> Path:
        """The command line."""
        return self.python.with_name("keystone")

    def make_folder(self, name: str) -> Path:
        """Make a folder there, which everybody may enter; the name gets an end of its own."""
        made = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        made.chmod(0o755)
        return made


@contextmanager
def installed() -> Iterator[Place]:
    """Have Keystone installed for the length of the block.

    For root it is an installation that every user can reach. Others could not become any of them:
    they have their own.
    """
    with tempfile.TemporaryDirectory(prefix="keystone-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        python = _install(folder) if os.getuid() == 0 else Path(sys.executable)
        yield Place(folder, python)


def _install(folder: Path) -> Path:
    _run(_find_python(), "-m", "venv", "--without-pip", str(folder / "venv"))
    packages, code = _within_reach(folder)
    (site,) = folder.glob("venv/lib/python*/site-packages")
    # What stands first is found first: our code before the one that is installed.
    (site / "all.pth").write_text(f"{code}\nimport site; site.addsitedir({str(packages)!r})\n")
    python = folder / "venv" / "bin" / "python"
    keystone = python.with_name("keystone")
    keystone.write_text(f"#!{python}\nfrom jobs.cli.main import main\nmain()\n")
    keystone.chmod(0o755)
    return python


def _within_reach(folder: Path) -> tuple[Path, Path]:
    """Give the installed packages and our code, copied unless everybody can read them as it is."""
    packages = Path(sysconfig.get_paths()["purelib"])
    code = ROOT
    if not _can_be_read(packages / "uvicorn" / "__init__.py"):
        packages = shutil.copytree(packages, folder / "packages")
    if not _can_be_read(*(ROOT / ours / "__init__.py" for ours in OURS)):
        code = folder / "code"
        for ours in OURS:
            shutil.copytree(ROOT / ours, code / ours)
    return packages, code


def _find_python() -> str:
    """Find a Python that everybody can run, and that can use what this one has installed."""
    version = ".".join(map(str, sys.version_info[:2]))
    ours = getattr(sys, "_base_executable", sys.executable)
    for candidate in (ours, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        if Path(candidate).exists() and _runs([candidate, "-c", "import ssl, sqlite3"]):
            return str(candidate)
    return pytest.fail(f"no Python {version} is there that every user can run: install python3")


def _can_be_read(*files: Path) -> bool:
    return _runs(["cat", *map(str, files)])


def _runs(command: Sequence[str]) -> bool:
    """Whether a command runs as a user who may do nothing in particular."""
    try:
        done = subprocess.run(
            command,
            cwd="/",
            env={"PATH": os.defpath},
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
