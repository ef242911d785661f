"""The resources that the supervisor watches besides the parts, passed as one argument."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from jobs.processes.docker_login_copy import DockerLoginCopy

ROUTER = "router"  # the part that may serve in a child process


@dataclass(frozen=True)
class Watched:
    """The resources that the supervisor watches besides the parts.

    Attributes:
        mirrors: the folder of the repositories' mirrors and of their locks.
        database: the SQLite file that the parts share, if any.
        web: the address and port of the web process, if one is run.
        logins: files to copy to the folder `copies` for the user with the id `reader`, if any.
    """

    mirrors: Path
    database: Path | None = None
    web: tuple[str, int] = ("", 0)
    logins: dict[str, Path] = field(default_factory=dict)
    copies: Path = Path()
    reader: int = 0

    def to_text(self) -> str:
        """Encode it as one command-line argument."""
        return json.dumps(vars(self), default=str)

    @classmethod
    def from_text(cls, text: str) -> "Watched":
        """Parse the output of `to_text`."""
        read = json.loads(text)
        return cls(
            mirrors=Path(read["mirrors"]),
            database=Path(read["database"]) if read["database"] else None,
            web=(read["web"][0], read["web"][1]),
            logins={name: Path(path) for name, path in read["logins"].items()},
            copies=Path(read["copies"]),
            reader=read["reader"],
        )

    @property
    def login_copy(self) -> DockerLoginCopy:
        """The object that keeps the copies up to date."""
        return DockerLoginCopy(self.logins, self.copies, self.reader)
