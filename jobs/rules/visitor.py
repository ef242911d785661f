"""The authenticated visitor, as the receiver passes it to the pages. Pure."""

from dataclasses import dataclass

from jobs.states import ActorKind, Role


@dataclass(frozen=True)
class Visitor:
    """A user with a session or a program with a token; the receiver has authenticated them."""

    kind: ActorKind  # a user or a token
    name: str
    role: Role
    csrf_token: str = ""  # what a browser must send with each change; empty for programs

    def may(self, needed: Role) -> bool:
        """Whether the visitor's role is enough."""
        return self.role.includes(needed)
