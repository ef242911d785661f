"""The system users that the parts of Keystone run as when root starts it.

`.setup/machine.sh` creates them. Their groups control access to shared files: members of the group
of the workers' user may enter the data directory, and members of the group of the web process's
user may use the database, the key and the logs.
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
    """One user and its own group."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class PartUsers:
    """The users of all parts.

    Attributes:
        work: for the workers and the watcher, which alone use the engine, git and the router's API.
    """

    work: PartUser
    web: PartUser
    redis: PartUser
    router: PartUser

    def __iter__(self) -> Iterator[PartUser]:
        return iter((self.work, self.web, self.redis, self.router))

    @property
    def uids(self) -> frozenset[int]:
        """All user ids."""
        return frozenset(user.uid for user in self)

    @property
    def gids(self) -> frozenset[int]:
        """All group ids."""
        return frozenset(user.gid for user in self)


@cache
def find_users() -> PartUsers | None:
    """Give the users; None when one of them is missing, or is an alias of root."""
    try:
        found = PartUsers(*(_find(name) for name in (WORK, WEB, REDIS, ROUTER)))
    except KeyError:
        return None
    return None if ROOT in found.uids | found.gids else found


def _find(name: str) -> PartUser:
    entry = pwd.getpwnam(name)
    return PartUser(name, entry.pw_uid, entry.pw_gid)


def family() -> PartUsers | None:
    """Give the users if this process is root's or one of theirs: they trust each other's files."""
    users = find_users()
    return users if users and os.getuid() in {ROOT, *users.uids} else None
