"""Copies root's docker configuration for workers that run as another user and cannot read it.

`docker login` writes to root's home. The supervisor, which runs as root, checks the files once a
second, so builds that start after that use a new login.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

CONFIG = "config.json"
CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")
LARGEST = 1024 * 1024  # bytes
FOLDER, CERTIFICATE_FOLDER, VERIFY = "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"


def sources(environ: Mapping[str, str], home: Path) -> dict[str, Path]:
    """Give the paths of the docker CLI's files that workers need, by the names of the copies."""
    default = home / ".docker"
    folder = Path(environ.get(FOLDER) or default).absolute()
    certificates = Path(environ.get(CERTIFICATE_FOLDER) or default).absolute()
    return {CONFIG: folder / CONFIG, **{name: certificates / name for name in CERTIFICATES}}


def told_to_workers(environ: Mapping[str, str], copies: Path) -> dict[str, str]:
    """Give the environment variables that point the docker SDK to the copies."""
    uses_tls = environ.get(CERTIFICATE_FOLDER) or environ.get(VERIFY)
    return {FOLDER: str(copies)} | ({CERTIFICATE_FOLDER: str(copies)} if uses_tls else {})


@dataclass
class DockerLoginCopy:
    """Copies of files that only one user may read, updated whenever the files change.

    Attributes:
        files: the original files, by the names of the copies.
        folder: the folder of the copies; the user cannot write to it.
    """

    files: Mapping[str, Path]
    folder: Path
    uid: int
    _seen: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def refresh(self) -> None:
        """Update every copy. If a copy fails, the next call retries it."""
        for name, source in self.files.items():
            stamp = _stamp(source)
            if self._seen.get(name) != stamp:
                with suppress(OSError):
                    self._copy(source, self.folder / name, is_there=bool(stamp))
                    self._seen[name] = stamp

    def _copy(self, source: Path, copy: Path, *, is_there: bool) -> None:
        if not is_there:
            copy.unlink(missing_ok=True)
            return
        with source.open("rb") as file:
            content = file.read(LARGEST + 1)
        # Only one supervisor runs at a time, and it overwrites the draft of a killed one.
        draft = copy.with_name(f"{copy.name}.draft")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_bytes(content)
        draft.chmod(0o400)
        os.chown(draft, self.uid, -1)
        draft.replace(copy)


def _stamp(path: Path) -> tuple[int, ...]:
    """Give a stamp that changes with the file; empty when there is no regular file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    is_file = path.is_file()
    return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size) if is_file else ()
