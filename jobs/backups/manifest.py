"""What a backup says of itself, and which files it may hold. Pure."""

import re
from collections.abc import Collection, Mapping

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from jobs.errors import BackupError

FORMAT = 1
MANIFEST, DATABASE, KEY = "manifest.json", "keystone.db", "secret.key"
LOG = re.compile(r"logs/[1-9]\d{0,17}\.log")
MOST_LOGS = 200_000
KIB, MIB, GIB = 1024, 1024**2, 1024**3
# In bytes; whoever unpacks a file from outside must know how much may come out of it.
LARGEST = {MANIFEST: 32 * MIB, DATABASE: 64 * GIB, KEY: 64 * KIB}
LARGEST_LOG = GIB


class Member(BaseModel):
    """One file in a backup."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int = Field(ge=0)  # bytes
    sha256: str


class Manifest(BaseModel):
    """What is in a backup; its last file, so that one without it was cut off."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    keystone: str  # the version that made it
    made_at: AwareDatetime
    identity: str = Field(pattern=r"^[a-z0-9]{0,32}$")  # names a file of ours
    schema_version: str
    files: Mapping[str, Member]

    @property
    def logs(self) -> list[str]:
        """The names of the deployments' logs in it."""
        return [name for name in self.files if LOG.fullmatch(name)]


def largest(name: str) -> int:
    """Give how many bytes a file of that name may have.

    Raises:
        BackupError: no backup holds such a file.
    """
    if name in LARGEST:
        return LARGEST[name]
    if LOG.fullmatch(name):
        return LARGEST_LOG
    raise BackupError(f"this is no backup of Keystone's: it holds {name[:100]!r}")


def read_manifest(text: bytes, found: Mapping[str, Member]) -> Manifest:
    """Read a manifest, and hold what was found in the backup against it.

    Raises:
        BackupError: it cannot be read, is of a later format, or something differs from it.
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
