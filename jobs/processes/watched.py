"""The resources that the supervisor watches besides the parts, passed as one argument."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from jobs.processes.docker_login_copy import DockerLoginCopy


@dataclass(frozen=True)
class Watched:
    """The resources that the supervisor watches besides the parts.

    Attributes:
        mirrors: the folder of the repositories' mirrors and of their locks.
        database: the SQLite file that the parts share, if any.
        web: the address and port of the web process, if one is run.
        run_dir: the folder of the router's keeper, if any.
        keeper: the arguments of the router's keeper, which is started when there is none; empty:
            nobody, or another service, runs it.
        router_lock: the lock of the router's files.
        logins: files to copy to the folder `copies` for the user with the id `reader`, if any.
    """

    mirrors: Path
    database: Path | None = None
    web: tuple[str, int] = ("", 0)
    logins: dict[str, Path] = field(default_factory=dict)
    copies: Path = Path()
    reader: int = 0
    run_dir: Path | None = None
    keeper: tuple[str, ...] = ()
    router_lock: Path | None = None

    def to_text(self) -> str:
        """Encode it as one command-line argument."""
        return json.dumps(vars(self), default=str)

    @classmethod
    def from_text(cls, text: str) -> "Watched":
        """Parse the output of `to_text`."""
        read = json.loads(text)
        return cls(
            mirrors=Path(read["mirrors"]),
            database=_path(read["database"]),
            web=(read["web"][0], read["web"][1]),
            logins={name: Path(path) for name, path in read["logins"].items()},
            copies=Path(read["copies"]),
            reader=read["reader"],
            run_dir=_path(read["run_dir"]),
            keeper=tuple(read["keeper"]),
            router_lock=_path(read["router_lock"]),
        )

    @property
    def login_copy(self) -> DockerLoginCopy:
        """The object that keeps the copies up to date."""
        return DockerLoginCopy(self.logins, self.copies, self.reader)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
