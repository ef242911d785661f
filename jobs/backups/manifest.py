"""A backup's manifest, and the files that a backup may contain. Pure."""

import re
from collections.abc import Collection, Mapping

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from jobs.errors import BackupError

FORMAT = 1
MANIFEST, DATABASE, KEY = "manifest.json", "keystone.db", "secret.key"
LOG = re.compile(r"logs/[1-9]\d{0,17}\.log")
MOST_LOGS = 200_000
KIB, MIB, GIB = 1024, 1024**2, 1024**3
# In bytes; unpacking an untrusted file needs an upper bound on the output.
LARGEST = {MANIFEST: 32 * MIB, DATABASE: 64 * GIB, KEY: 64 * KIB}
LARGEST_LOG = GIB


class Member(BaseModel):
    """One file in a backup."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int = Field(ge=0)  # bytes
    sha256: str


class Manifest(BaseModel):
    """A backup's table of contents; it is the last file, so a backup without it was cut off."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    keystone: str  # the version of Keystone that made it
    made_at: AwareDatetime
    identity: str = Field(pattern=r"^[a-z0-9]{0,32}$")  # it becomes part of a file's name
    schema_version: str
    files: Mapping[str, Member]

    @property
    def logs(self) -> list[str]:
        """The names of the deployment logs in the backup."""
        return [name for name in self.files if LOG.fullmatch(name)]


def largest(name: str) -> int:
    """Return the maximum size of a file of that name, in bytes.

    Raises:
        BackupError: no backup contains such a file.
    """
    if name in LARGEST:
        return LARGEST[name]
    if LOG.fullmatch(name):
        return LARGEST_LOG
    raise BackupError(f"this is no backup of Keystone's: it holds {name[:100]!r}")


def read_manifest(text: bytes, found: Mapping[str, Member]) -> Manifest:
    """Parse a manifest, and compare it with the files found in the backup.

    Raises:
        BackupError: the manifest is invalid or of a later format, or a file differs from it.
    """
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError:
        raise BackupError("this backup's manifest is not one that this Keystone knows") from None
    if manifest.format > FORMAT:
        raise BackupError(
            f"Keystone {manifest.keystone} made this backup in a later format; restore it with that"
        )
    if differing := _differing(manifest.files, found):
        raise BackupError(f"the backup is damaged: {', '.join(differing[:5])} is not as it was")
    return manifest


def _differing(told: Mapping[str, Member], found: Mapping[str, Member]) -> list[str]:
    names: Collection[str] = told.keys() | found.keys()
    return sorted(name for name in names if told.get(name) != found.get(name))
