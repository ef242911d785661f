"""Who is looking: what the receiver found out and the pages need to know. Pure."""

from dataclasses import dataclass

from jobs.states import ActorKind, Role


@dataclass(frozen=True)
class Visitor:
    """A person with a session or a program with a token; the receiver has made sure of it."""

    kind: ActorKind  # a user or a token
    name: str
    role: Role
    csrf_token: str = ""  # what a browser must send with each change; empty for programs

    def may(self, needed: Role) -> bool:
        """Whether the visitor's role is enough."""
        return self.role.includes(needed)
