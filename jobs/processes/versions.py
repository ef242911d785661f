"""Which version of Keystone runs, and which one shall run: small files in the run folder.

`version.json` describes the running `keystone up`, and stays after its end. `next.json` names the
version that shall run; while it exists, `keystone up` runs that version, whoever starts it. So a
machine that is switched off in the middle of an upgrade starts with one consistent version.
`failed.json` names the code that did not get ready: `keystone up` runs the previous version again
until `make upgrade` tries another time.
"""

import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from jobs.errors import StorageError
from jobs.system.private_folder import ensure_private

VERSION, NEXT, FAILED, PARTS = "version.json", "next.json", "failed.json", "parts.json"
CLOSED_TO_OTHERS = 0o022


@dataclass(frozen=True)
class Version:
    """One version of Keystone that can run: an environment, and a copy of the code.

    Attributes:
        python: the environment's interpreter.
        code: the folder of the packages.
        name: the version's number.
        commit: empty when unknown.
        schema: the database's schema that this code makes.
    """

    python: str
    code: str
    name: str
    commit: str
    schema: str

    @property
    def in_words(self) -> str:
        """The version for people."""
        commit = f", commit {self.commit[:10]}" if self.commit else ""
        return f"{self.name} (code {Path(self.code).name[:7]}{commit}, schema {self.schema})"

    def is_same(self, other: "Version") -> bool:
        """Whether both have the same code and environment."""
        return (self.code, self.python) == (other.code, other.python)

    @property
    def is_there(self) -> bool:
        """Whether its environment and its code still exist."""
        return Path(self.python).exists() and (Path(self.code) / "jobs").is_dir()


@dataclass(frozen=True)
class Running:
    """The version of a running Keystone.

    Attributes:
        folder: where `keystone up` was started; it reads `.env` there.
        previous: the version that ran before, if it was another one.
    """

    version: Version
    pid: int
    started_at: str
    folder: str
    previous: Version | None = None

    @classmethod
    def now(cls, version: Version, folder: str, before: "Running | None") -> Self:
        """Describe this process."""
        previous = None
        if before:
            is_same = before.version.code == version.code
            previous = before.previous if is_same else before.version
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(version, os.getpid(), at, folder, previous)


@dataclass(frozen=True)
class Undo:
    """A change of the schema to undo: the version that can do it, and the schema to go back to."""

    by: Version
    schema: str


@dataclass(frozen=True)
class Next:
    """The version that shall run next.

    Attributes:
        undo: what to undo before it starts.
        stops_web: whether the web process must end before the next version begins to start,
            because the schema changes in a way that the old code cannot use.
    """

    version: Version
    undo: Undo | None = None
    stops_web: bool = False


def read_running(run_dir: Path) -> Running | None:
    """Give the version that runs, or ran last; None when that is unknown."""
    found = _read(run_dir / VERSION)
    try:
        if found is None:
            return None
        previous = found.pop("previous")
        return Running(
            version=Version(**found.pop("version")),
            previous=Version(**previous) if previous else None,
            **found,
        )
    except (KeyError, TypeError):
        return None


def write_running(run_dir: Path, running: Running) -> None:
    """Store the version that runs."""
    _write(run_dir / VERSION, asdict(running))


def read_next(run_dir: Path) -> Next | None:
    """Give the version that shall run; None when nothing, or something unusable, is stored."""
    found = _read(run_dir / NEXT)
    try:
        if found is None:
            return None
        undo = found["undo"]
        wanted = Next(
            Version(**found["version"]),
            Undo(Version(**undo["by"]), str(undo["schema"])) if undo else None,
            bool(found["stops_web"]),
        )
    except (KeyError, TypeError):
        return None
    return wanted if wanted.version.is_there else None


def write_next(run_dir: Path, wanted: Next) -> None:
    """Store the version that shall run."""
    _write(run_dir / NEXT, asdict(wanted))


def forget_next(run_dir: Path) -> None:
    """Let the next `keystone up` decide by itself which version it runs."""
    (run_dir / NEXT).unlink(missing_ok=True)


def failed_code(run_dir: Path) -> str:
    """Give the folder name of the code that did not get ready; empty when there is none."""
    return str((_read(run_dir / FAILED) or {}).get("code", ""))


def note_failed(run_dir: Path, version: Version, reason: str) -> None:
    """Store that a version did not get ready."""
    _write(run_dir / FAILED, {"code": Path(version.code).name, "reason": reason})


def forget_failed(run_dir: Path) -> None:
    """Let a version be tried again."""
    (run_dir / FAILED).unlink(missing_ok=True)


def read_parts(run_dir: Path) -> dict[str, Any] | None:
    """Give the states of the parts, as the supervisor last saw them; None while it starts."""
    return _read(run_dir / PARTS)


def write_parts(run_dir: Path, parts: dict[str, Any]) -> None:
    """Store the states of the parts."""
    _write(run_dir / PARTS, parts)


def forget_parts(run_dir: Path) -> None:
    """Remove the states of the parts of an earlier supervisor."""
    (run_dir / PARTS).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """Read a file that only root or we can have written; None when there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            about = os.fstat(file.fileno())
            if about.st_uid not in {0, os.getuid()} or about.st_mode & CLOSED_TO_OTHERS:
                return None
            if not stat.S_ISREG(about.st_mode):
                return None
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, values: dict[str, Any]) -> None:
    """Replace a file in one step; a machine that is switched off then has the old or the new one.

    Raises:
        StorageError: the file cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        ensure_private(path.parent)
        draft.touch(mode=0o600)
        with draft.open("w", encoding="utf-8") as file:
            json.dump(values, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as exc:
        with suppress(OSError):
            draft.unlink()
        raise StorageError(f"{path} cannot be written: {exc.strerror}") from exc
