"""Sets up Keystone in a root, and runs the core story there."""

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.roots.distributions import Distribution
from tests.roots.root import CACHE, CODE, ROOT, Root, alone, clean_root, running_root

STORY = (
    "tests/acceptance/core_story.py",
    "tests/contract/test_engine_logins.py",
    # The newest engines refuse the old version of the API that this test asks with.
    "--deselect=tests/contract/test_engine_logins.py::test_older_builder_uses_the_login_too",
)
# What the adapters of the engine and of the router do with this engine and this router.
DETAILS = (
    "tests/contract/test_engine.py",
    "tests/contract/test_engine_builds.py",
    "tests/contract/test_engine_control.py",
    "tests/contract/router/test_switching.py",
)
LOCK = "requirements-test.lock"
# What decides which packages a prepared root has.
MADE_FROM = (LOCK, ".setup/machine.sh", ".setup/environment.sh")


class SetUpError(Exception):
    """`make setup` failed; the message names the log."""


@dataclass(frozen=True)
class Versions:
    """What a distribution's packages are."""

    engine: str
    haproxy: str
    python: str
    redis: str


def versions(root: Root) -> Versions:
    """Ask the programs."""
    return Versions(
        engine=_package(root, "docker.io"),
        haproxy=_package(root, "haproxy"),
        python=root.told("python3", "-V").removeprefix("Python "),
        redis=_package(root, "redis-server"),
    )


def _package(root: Root, name: str) -> str:
    return root.told("dpkg-query", "-W", "-f", "${Version}", name)


def set_up(root: Root, log: Path) -> float:
    """Run `make setup` for a copy of this checkout; give the seconds that it took."""
    root.take_code()
    begun = time.monotonic()
    with root.outside_world() as world:
        for command in (("apt-get", "update", "-q"), ("make", "setup")):
            if root.run(*command, log=log, folder=CODE, variables=world):
                raise SetUpError(f"{' '.join(command)} failed; see {log}")
    return time.monotonic() - begun


def add_test_packages(root: Root, log: Path) -> None:
    """Install what pytest needs, and nothing with apt."""
    with root.outside_world() as world:
        command = (".setup/environment.sh", LOCK)
        if root.run(*command, log=log, folder=CODE, variables=world):
            raise SetUpError(f"{' '.join(command)} failed; see {log}")


def tell_story(root: Root, log: Path, *tests: str) -> int:
    """Run tests in the root, and give pytest's exit code."""
    command = (".venv/bin/python", "-m", "pytest", "-q", "-n", "2", "--dist=loadfile", *tests)
    return root.run(*command, log=log, folder=CODE)


@contextmanager
def prepared_root(distribution: Distribution, log: Path) -> Iterator[Root]:
    """Run a root in which everything is installed and the engine answers.

    What is installed is kept for the next time. What else is written is in memory.

    Raises:
        NotToBeHadError: the distribution cannot be had here.
        SetUpError: the set-up failed.
    """
    base = clean_root(distribution)
    ready = CACHE / f"ready-{distribution.suite}-{_digest()}"
    with alone():
        if not ready.exists():
            _prepare(base, ready, log)
    with running_root([ready / "upper", base]) as root:
        root.take_code()
        if root.run(".setup/machine.sh", "run", log=log, folder=CODE):
            raise SetUpError(f"the engine does not start; see {log}")
        yield root


def _prepare(base: Path, wanted: Path, log: Path) -> None:
    for old in CACHE.glob(f"{wanted.name.rpartition('-')[0]}-*"):
        shutil.rmtree(old)
    unfinished = wanted.with_name(f"{wanted.name}.unfinished")
    with running_root([base], upper=unfinished) as root:
        set_up(root, log)
        add_test_packages(root, log)
        # The code of today would shine through tomorrow's.
        keep = f"find {CODE} -mindepth 1 -maxdepth 1 ! -name '.venv*' -exec rm -rf {{}} +"
        root.run("sh", "-c", keep, log=log)
    shutil.rmtree(unfinished / "work")
    unfinished.rename(wanted)


def _digest() -> str:
    content = b"".join((ROOT / name).read_bytes() for name in MADE_FROM)
    return hashlib.sha256(content).hexdigest()[:12]
