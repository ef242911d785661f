"""The system users that the parts of Keystone run as when root starts it.

`.setup/machine.sh` makes them. What several of them share belongs to a group of theirs: whoever is
in the group of the workers' user may enter the data directory, and whoever is in the group of the
web process's user may use the database, the key and the logs.
"""

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

WORK, WEB, REDIS, ROUTER = "keystone", "keystone-web", "keystone-redis", "keystone-router"
ROOT = 0


@dataclass(frozen=True)
class PartUser:
    """One user, and the group that is its own."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class PartUsers:
    """All of them.

    Attributes:
        work: of the workers and the watcher: they alone use the engine, git and the router's API.
    """

    work: PartUser
    web: PartUser
    redis: PartUser
    router: PartUser

    def __iter__(self) -> Iterator[PartUser]:
        return iter((self.work, self.web, self.redis, self.router))

    @property
    def uids(self) -> frozenset[int]:
        """Their numbers."""
        return frozenset(user.uid for user in self)

    @property
    def gids(self) -> frozenset[int]:
        """The numbers of their groups."""
        return frozenset(user.gid for user in self)


@cache
def find_users() -> PartUsers | None:
    """Give the users, or None when one of them is missing (or is root by another name)."""
    try:
        found = PartUsers(*(_find(name) for name in (WORK, WEB, REDIS, ROUTER)))
    except KeyError:
        return None
    return None if ROOT in found.uids | found.gids else found


def _find(name: str) -> PartUser:
    entry = pwd.getpwnam(name)
    return PartUser(name, entry.pw_uid, entry.pw_gid)


def family() -> PartUsers | None:
    """Give the users whose files this process may trust as it does its own: root's and theirs."""
    users = find_users()
    return users if users and os.getuid() in {ROOT, *users.uids} else None
