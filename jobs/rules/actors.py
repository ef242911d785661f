"""Who makes a change, and how that is written: `user:ada`. Pure."""

from dataclasses import dataclass
from typing import Self

from jobs.states import ActorKind

LONGEST = 200  # of the written form


@dataclass(frozen=True)
class Actor:
    """A person, a program, GitHub, somebody at the server's own shell, or Keystone itself."""

    kind: ActorKind
    name: str
    address: str = ""

    def __str__(self) -> str:
        """Give the form that people and programs read: `user:ada`."""
        return f"{self.kind}:{self.name}"[:LONGEST]

    @property
    def kept_name(self) -> str:
        """The name as the database keeps it: the part of it that the written form has room for."""
        return str(self).partition(":")[2]

    @classmethod
    def read(cls, written: str) -> Self | None:
        """Read the written form; None: nobody is written like that."""
        kind, _, name = written.partition(":")
        return cls(ActorKind(kind), name) if name and kind in set(ActorKind) else None


KEYSTONE = Actor(ActorKind.KEYSTONE, "keystone")


def stranger(address: str) -> Actor:
    """Give somebody of whom only the address is known."""
    return Actor(ActorKind.STRANGER, "unknown", address)
