"""Finds known flaws by which a container or a build can escape from the engine or its runc.

The check compares versions with one table. Distributions fix flaws in their packages without a new
upstream version. So for such a package, the changelog on this machine says which flaws are fixed,
and the others are only reported as possible.

Sources, read 2026-11-30: the release notes of Docker Engine (24.0.9 and 25.0.2 for the BuildKit in
it, 25.0.6, 26.1.5, 27.1.1, 29.3.1), runc's CHANGELOG.md, the release notes of BuildKit 0.28.1, and
the records of CVE-2021-30465, CVE-2024-21626, CVE-2024-41110, CVE-2026-17106, CVE-2026-34040 and
CVE-2026-41567 at cve.org.
"""

import gzip
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ENGINE, RUNC = "Engine", "runc"  # the engine's names for its components
PACKAGES = {ENGINE: ("docker.io-app", "docker.io"), RUNC: ("runc-app", "runc")}
NAMES = {ENGINE: "Docker Engine", RUNC: "runc"}
CHANGELOGS = Path("/usr/share/doc")
LARGEST_CHANGELOG = 4 * 1024 * 1024  # bytes
PATIENCE_S = 5
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-rc\.?(\d+))?")
# The suffixes of Debian's and Ubuntu's versions: 20.10.24+dfsg1, 1.1.5+ds1, 1.1.12-0ubuntu3.
_OF_DISTRIBUTION = re.compile(r"\+d(?:fsg|s)\d*|ubuntu|deb\d+u")
RELEASED = 10**6  # sorts after every release candidate

Version = tuple[int, int, int, int]  # the last one is the candidate's number, or RELEASED


@dataclass(frozen=True)
class Escape:
    """A flaw, and the first fixed version of each release line.

    Attributes:
        fixed: ascending. A version of a line without an entry has the flaw if it is older than the
            last of these.
        only: the condition under which the flaw matters; empty if it always does.
    """

    cves: tuple[str, ...]
    component: str
    fixed: tuple[str, ...]
    only: str = ""

    def is_in(self, version: Version) -> bool:
        """Whether a version has the flaw."""
        fixes = [_read(each) for each in self.fixed]
        on_line = [fix for fix in fixes if fix is not None and fix[:2] == version[:2]]
        return version < (on_line or [fix for fix in fixes if fix is not None])[-1]


ESCAPES = (
    Escape(("CVE-2021-30465",), RUNC, ("1.0.0-rc95",)),
    Escape(("CVE-2024-21626",), RUNC, ("1.1.12",)),
    Escape(
        ("CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"),
        RUNC,
        ("1.2.8", "1.3.3", "1.4.0-rc3"),
    ),
    Escape(("CVE-2024-23651", "CVE-2024-23652", "CVE-2024-23653"), ENGINE, ("25.0.2",)),
    Escape(
        ("CVE-2024-41110",),
        ENGINE,
        ("23.0.15", "25.0.6", "26.1.5", "27.1.1"),
        only="with authorization plugins",
    ),
    Escape(("CVE-2026-33747", "CVE-2026-33748"), ENGINE, ("29.3.1",)),
    Escape(("CVE-2026-34040",), ENGINE, ("29.3.1",), only="with authorization plugins"),
    Escape(("CVE-2026-41567",), ENGINE, ("29.5.1",), only="when files are copied into a container"),
    Escape(("CVE-2026-17106",), ENGINE, ("29.7.0",), only="when files are copied from a container"),
)


@dataclass(frozen=True)
class Package:
    """A package of this machine's distribution."""

    name: str
    version: str
    changelog: str


@dataclass(frozen=True)
class Suspect:
    """A component with known flaws.

    Attributes:
        name: the component and its version, or its package and that package's version.
        flaws: CVE numbers, each with the condition under which it matters in parentheses.
        is_sure: false if the distribution may have fixed the flaws.
    """

    name: str
    flaws: tuple[str, ...]
    is_sure: bool


def find_suspects(components: Mapping[str, str]) -> list[Suspect]:
    """Find the components that let a container or a build escape, or may do so.

    Args:
        components: versions by name, as the engine on this machine reports them.
    """
    return [found for name in NAMES if (found := _suspect(name, components.get(name, "")))]


def _suspect(component: str, told: str) -> Suspect | None:
    version = _read(told)
    if version is None:
        return None
    is_distributions = _OF_DISTRIBUTION.search(told) is not None
    package = find_package(component) if is_distributions else None
    fixed = package.changelog if package else ""
    flaws = [
        f"{cve} ({escape.only})" if escape.only else cve
        for escape in ESCAPES
        if escape.component == component and escape.is_in(version)
        for cve in escape.cves
        if cve not in fixed
    ]
    name = f"{package.name} {package.version}" if package else f"{NAMES[component]} {told}"
    return Suspect(name, tuple(flaws), is_sure=not is_distributions) if flaws else None


def find_package(component: str, changelogs: Path = CHANGELOGS) -> Package | None:
    """Give the package that a component comes from, with its changelog."""
    for name in PACKAGES[component]:
        if version := _installed(name):
            return Package(name, version, "\n".join(_changes(changelogs / name)))
    return None


def _installed(name: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 — our own words, no shell
            ["dpkg-query", "--show", "--showformat=${Version}", name],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _changes(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("changelog*.gz")):
        try:
            with gzip.open(file, "rt", errors="replace", encoding="utf-8") as opened:
                yield opened.read(LARGEST_CHANGELOG)
        except (OSError, EOFError):
            continue


def _read(text: str) -> Version | None:
    """Read a version: "20.10.24+dfsg1", "v1.1.12-0-g51d5e94f", "1.4.0-rc.3"."""
    match = _VERSION.match(text)
    if match is None:
        return None
    major, minor, patch, candidate = match.groups()
    return int(major), int(minor), int(patch), int(candidate) if candidate else RELEASED
