"""What the supervisor looks after besides the parts of Keystone, as one argument of its own."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from jobs.processes.docker_login_copy import DockerLoginCopy

ROUTER = "router"  # the part that may serve in a child of its own


@dataclass(frozen=True)
class Watched:
    """What the supervisor looks after besides the parts.

    Attributes:
        mirrors: the folder of the repositories' mirrors, and of their locks.
        database: the SQLite file that the parts share, if they do.
        logins: copied for the user with the number `reader` to `copies`, if there is one.
    """

    mirrors: Path
    database: Path | None = None
    logins: dict[str, Path] = field(default_factory=dict)
    copies: Path = Path()
    reader: int = 0

    def to_text(self) -> str:
        """Write it as one argument of a command line."""
        return json.dumps(vars(self), default=str)

    @classmethod
    def from_text(cls, text: str) -> "Watched":
        """Read what `to_text` has written."""
        read = json.loads(text)
        return cls(
            mirrors=Path(read["mirrors"]),
            database=Path(read["database"]) if read["database"] else None,
            logins={name: Path(path) for name, path in read["logins"].items()},
            copies=Path(read["copies"]),
            reader=read["reader"],
        )

    @property
    def login_copy(self) -> DockerLoginCopy:
        """What keeps the copies up to date."""
        return DockerLoginCopy(self.logins, self.copies, self.reader)
