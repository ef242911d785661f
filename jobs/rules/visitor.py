"""Who is looking: what the receiver found out and the pages need to know. Pure."""

from dataclasses import dataclass

from jobs.states import Role


@dataclass(frozen=True)
class Visitor:
    """A person with a session or a program with a token; the receiver has made sure of it."""

    kind: str  # "user" or "token"
    name: str
    role: Role
    csrf_token: str = ""  # what a browser must send with each change; empty for programs

    def may(self, needed: Role) -> bool:
        """Whether the visitor's role is enough."""
        return self.role.includes(needed)
