"""A backup's file format: a gzipped tar, written and read as one stream.

A backup to read is untrusted input: only plain files with the few known names are accepted, each
has a maximum size, and nothing is written that does not fit on the disk.
"""

import gzip
import hashlib
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from jobs.backups.manifest import (
    MANIFEST,
    MIB,
    MOST_LOGS,
    Manifest,
    Member,
    largest,
    read_manifest,
)
from jobs.errors import BackupError, StorageError

CHUNK = 256 * 1024
BLOCK = tarfile.BLOCKSIZE
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
LEVEL = 6
MOST_FILES = MOST_LOGS + 3
# Bytes that unpacking leaves free on the disk.
RESERVE = 64 * MIB
NOT_WHOLE = "the backup is damaged, or was cut off; take another one"

Tick = Callable[[int], None]


class ArchiveWriter:
    """Adds files to a backup one by one, and records their sizes and digests."""

    def __init__(self, target: BinaryIO) -> None:
        self.members: dict[str, Member] = {}
        self._stream = gzip.GzipFile("", "wb", LEVEL, target)

    def add(self, name: str, source: BinaryIO, size: int, *, tick: Tick) -> None:
        """Add the first `size` bytes of a file; `tick` is called with each chunk's size.

        Raises:
            StorageError: the file has fewer bytes.
        """
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(time.time())
        self._stream.write(info.tobuf(tarfile.GNU_FORMAT))
        digest, left = hashlib.sha256(), size
        while left:
            chunk = source.read(min(left, CHUNK))
            if not chunk:
                raise StorageError(f"{name} became shorter while it was copied; try again")
            self._stream.write(chunk)
            digest.update(chunk)
            left -= len(chunk)
            tick(len(chunk))
        self._stream.write(_padding(size))
        self.members[name] = Member(size=size, sha256=digest.hexdigest())

    def close(self) -> None:
        """Write the end marker and close the stream; the backup ends there."""
        self._stream.write(bytes(2 * BLOCK))
        self._stream.close()


def unpack(source: BinaryIO, folder: Path) -> Manifest:
    """Unpack a backup into an empty folder, and check that it is complete.

    Raises:
        BackupError: it is no backup, is damaged, or contains files that no backup has.
        StorageError: it cannot be read, or does not fit on the folder's disk.
    """
    found: dict[str, Member] = {}
    try:
        with gzip.GzipFile(fileobj=source, mode="rb") as stream:
            while (info := _next(stream)) is not None:
                if info.name in found or len(found) == MOST_FILES:
                    raise BackupError(NOT_WHOLE)
                found[info.name] = _unpack_one(stream, info, folder)
            # Read to the end, because gzip verifies its checksum only there.
            if len(stream.read(CHUNK)) == CHUNK:
                raise BackupError(NOT_WHOLE)
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise BackupError(NOT_WHOLE) from exc
    except OSError as exc:
        raise StorageError(f"the backup cannot be read: {exc.strerror}") from exc
    if found.pop(MANIFEST, None) is None:
        raise BackupError(NOT_WHOLE)
    return read_manifest((folder / MANIFEST).read_bytes(), found)


def _next(stream: gzip.GzipFile) -> tarfile.TarInfo | None:
    header = stream.read(BLOCK)
    if header == bytes(BLOCK):
        return None
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as exc:
        raise BackupError(NOT_WHOLE) from exc
    # A backup has no links, folders, sparse files or extended headers.
    if info.type not in PLAIN or not 0 <= info.size <= largest(info.name):
        raise BackupError(f"this is no backup of Keystone's: it holds {info.name[:100]!r}")
    return info


def _unpack_one(stream: gzip.GzipFile, info: tarfile.TarInfo, folder: Path) -> Member:
    path = folder / info.name
    digest, left = hashlib.sha256(), info.size
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _ensure_room(folder, info.size)
        path.touch(mode=0o600, exist_ok=False)
        with path.open("wb") as file:
            while left:
                chunk = stream.read(min(left, CHUNK))
                if not chunk:
                    raise BackupError(NOT_WHOLE)
                digest.update(chunk)
                left -= file.write(chunk)
    except gzip.BadGzipFile:
        raise  # a subclass of OSError, which the next clause would catch
    except OSError as exc:
        raise StorageError(f"the backup cannot be unpacked in {folder}: {exc.strerror}") from exc
    stream.read(len(_padding(info.size)))
    return Member(size=info.size, sha256=digest.hexdigest())


def _ensure_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size + RESERVE > free:
        raise StorageError(
            f"{folder} has {free // MIB} MB free, and unpacking the backup needs "
            f"{(size + RESERVE) // MIB} MB; make room"
        )


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)
