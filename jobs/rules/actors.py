"""The actor who makes a change, and its written form, like `user:ada`. Pure."""

from dataclasses import dataclass
from typing import Self

from jobs.states import ActorKind

LONGEST = 200  # characters of the written form


@dataclass(frozen=True)
class Actor:
    """A user, a program, GitHub, a person at the server's shell, or Keystone itself."""

    kind: ActorKind
    name: str
    address: str = ""

    def __str__(self) -> str:
        """Give the written form, for people and programs: `user:ada`."""
        return f"{self.kind}:{self.name}"[:LONGEST]

    @property
    def kept_name(self) -> str:
        """The name as stored in the database: cut so that the written form fits `LONGEST`."""
        return str(self).partition(":")[2]

    @classmethod
    def read(cls, written: str) -> Self | None:
        """Parse the written form; return None if it is not an actor's."""
        kind, _, name = written.partition(":")
        return cls(ActorKind(kind), name) if name and kind in set(ActorKind) else None


KEYSTONE = Actor(ActorKind.KEYSTONE, "keystone")


def stranger(address: str) -> Actor:
    """Give the actor for an unauthenticated caller, of whom only the address is known."""
    return Actor(ActorKind.STRANGER, "unknown", address)
