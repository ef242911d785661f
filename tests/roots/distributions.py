"""The distributions, and where this machine's apt can get them from."""

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE_S = 20
OWN_MIRROR = "ROOTS_MIRROR_"  # and the family in capitals: an address of one's own


@dataclass(frozen=True)
class Distribution:
    """A release of a distribution.

    Attributes:
        family: "debian" or "ubuntu", which is also the last part of its mirrors' addresses.
    """

    name: str
    family: str
    suite: str

    @property
    def components(self) -> Sequence[str]:
        """The parts of the archive that the packages of Keystone's parts are in."""
        return ("main", "universe") if self.family == "ubuntu" else ("main",)

    @property
    def script(self) -> str:
        """The suite whose script debootstrap has; it may not know the newest ones."""
        return "gutsy" if self.family == "ubuntu" else "sid"


BOOKWORM = Distribution("Debian 12", "debian", "bookworm")
TRIXIE = Distribution("Debian 13", "debian", "trixie")
SID = Distribution("Debian unstable", "debian", "sid")
NOBLE = Distribution("Ubuntu 24.04", "ubuntu", "noble")
RESOLUTE = Distribution("Ubuntu 26.04", "ubuntu", "resolute")

CLEAN = (BOOKWORM, TRIXIE, NOBLE, RESOLUTE)
# For CI: the newest release whose packages no longer change.
NEWEST = (TRIXIE,)


class NotToBeHadError(Exception):
    """A distribution cannot be had on this machine; the message says why."""


def mirror_of(distribution: Distribution) -> str:
    """Give the address of a mirror that has a distribution.

    Raises:
        NotToBeHadError: none of the mirrors that apt is set up for has it.
    """
    tried = list(_candidates(distribution.family))
    for address in tried:
        if _has(f"{address}/dists/{distribution.suite}/Release"):
            return address
    raise NotToBeHadError(
        f"{distribution.name} is on none of the mirrors that this machine's apt uses (tried "
        f"{len(tried)}); {OWN_MIRROR}{distribution.family.upper()} may name another one"
    )


def _candidates(family: str) -> Iterator[str]:
    """Give the possible addresses: one's own, else those of the family that apt is set up for."""
    if own := os.environ.get(f"{OWN_MIRROR}{family.upper()}"):
        yield own.rstrip("/")
        return
    asked = ["apt-get", "indextargets", "--format", "$(SITE)"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    sites = dict.fromkeys(line.rstrip("/") for line in told.stdout.splitlines())
    yield from (site for site in sites if urlsplit(site).path == f"/{family}")


def _has(address: str) -> bool:
    asked = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_S):
            return True
    except (urllib.error.URLError, OSError):
        return False
