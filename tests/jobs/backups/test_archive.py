"""Unpacking what somebody hands us: nothing but a backup's own files, and never too much."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.backups import archive
from jobs.backups.archive import ArchiveWriter, unpack
from jobs.backups.manifest import GIB, LARGEST_LOG, Manifest
from jobs.errors import BackupError, StorageError
from jobs.storage.models import now

Change = Callable[[tarfile.TarInfo], None]


def packed(files: dict[str, bytes], *, manifest: dict[str, object] | None = None) -> bytes:
    """Give a backup of these files, as Keystone makes them."""
    target = io.BytesIO()
    writer = ArchiveWriter(target)
    for name, content in files.items():
        writer.add(name, io.BytesIO(content), len(content), tick=lambda _more: None)
    about = Manifest(
        format=1,
        keystone="0.1.0",
        made_at=now(),
        identity="abcdef",
        schema_version="0001",
        files=dict(writer.members),
    )
    text = json.dumps(about.model_dump(mode="json") | (manifest or {})).encode()
    writer.add("manifest.json", io.BytesIO(text), len(text), tick=lambda _more: None)
    writer.close()
    return target.getvalue()


def tarred(name: str, change: Change, content: bytes = b"x") -> bytes:
    """Give an archive with one member that is made otherwise, by the ordinary tool."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    change(info)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def a(kind: bytes, link: str = "") -> Change:
    """Make a member one of another kind."""

    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, link
        info.size = 0

    return change


def as_it_is(_info: tarfile.TarInfo) -> None:
    """Change nothing."""


def names_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_unpacked_files_are_private(tmp_path: Path) -> None:
    files = {
        "keystone.db": b"d" * 70_000,
        "secret.key": b"k",
        "logs/7.log": b"",
        "logs/41.log": b"l",
    }
    manifest = unpack(io.BytesIO(packed(files)), tmp_path)
    assert manifest.logs == ["logs/7.log", "logs/41.log"]
    for name, content in files.items():
        assert (tmp_path / name).read_bytes() == content
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_ordinary_tools_can_read_an_archive(tmp_path: Path) -> None:
    made = packed({"keystone.db": b"d" * 70_000, "logs/7.log": b"built"})
    with tarfile.open(fileobj=io.BytesIO(made), mode="r:gz") as tar:
        assert tar.getnames() == ["keystone.db", "logs/7.log", "manifest.json"]
        tar.extractall(tmp_path, filter="data")
    assert (tmp_path / "logs" / "7.log").read_bytes() == b"built"


@pytest.mark.parametrize(
    "hostile",
    [
        tarred("../../etc/cron.d/x", as_it_is),
        tarred("/etc/passwd", as_it_is),
        tarred("logs/../keystone.db", as_it_is),
        tarred("logs/x.log", as_it_is),
        tarred("logs/7.log/8.log", as_it_is),
        tarred("run/up.lock", as_it_is),
        tarred("secret.key", a(tarfile.SYMTYPE, "/etc/shadow")),
        tarred("secret.key", a(tarfile.LNKTYPE, "/etc/shadow")),
        tarred("keystone.db", a(tarfile.DIRTYPE)),
        tarred("keystone.db", a(tarfile.FIFOTYPE)),
        tarred("keystone.db", a(tarfile.CHRTYPE)),
        # A name that long makes the tool write a header of its own for it.
        tarred("logs/" + "7" * 300 + ".log", as_it_is),
    ],
)
def test_entries_that_no_backup_has_are_refused_and_not_written(
    tmp_path: Path, hostile: bytes
) -> None:
    with pytest.raises(BackupError, match="no backup of Keystone's"):
        unpack(io.BytesIO(hostile), tmp_path)
    assert names_below(tmp_path) == set()


@pytest.mark.parametrize(
    ("name", "size"),
    [("secret.key", 65 * 1024), ("logs/7.log", LARGEST_LOG + 1), ("keystone.db", 65 * GIB)],
)
def test_a_file_that_says_it_is_too_large_is_not_begun(
    tmp_path: Path, name: str, size: int
) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    bomb = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(64 * 1024))
    with pytest.raises(BackupError, match="no backup of Keystone's"):
        unpack(io.BytesIO(bomb), tmp_path)
    assert names_below(tmp_path) == set()


def test_an_archive_too_large_for_the_disk_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "RESERVE", 2**60)
    with pytest.raises(StorageError, match="MB free, and unpacking the backup needs"):
        unpack(io.BytesIO(packed({"secret.key": b"k"})), tmp_path)
    assert names_below(tmp_path) == set()


def test_a_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    twice = io.BytesIO()
    writer = ArchiveWriter(twice)
    for content in (b"the first", b"the other"):
        writer.add("secret.key", io.BytesIO(content), len(content), tick=lambda _more: None)
    writer.close()
    with pytest.raises(BackupError):
        unpack(io.BytesIO(twice.getvalue()), tmp_path)
    assert (tmp_path / "secret.key").read_bytes() == b"the first"


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ({"format": 2}, "in a later format"),
        ({"more": "of it"}, "not one that this Keystone knows"),
        ({"made_at": "yesterday"}, "not one that this Keystone knows"),
        ({"format": True}, "not one that this Keystone knows"),
        ({"identity": "../../root"}, "not one that this Keystone knows"),
        ({"files": {}}, "damaged: secret.key is not as it was"),
        ({"files": {"secret.key": {"size": 1, "sha256": "0" * 64}}}, "damaged: secret.key"),
    ],
)
def test_a_manifest_that_tells_otherwise_is_refused(
    tmp_path: Path, manifest: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BackupError, match=sentence):
        unpack(io.BytesIO(packed({"secret.key": b"k"}, manifest=manifest)), tmp_path)


def test_an_archive_with_data_after_its_end_is_refused(tmp_path: Path) -> None:
    longer = packed({"secret.key": b"k"}) + gzip.compress(bytes(2**24))
    with pytest.raises(BackupError, match="damaged"):
        unpack(io.BytesIO(longer), tmp_path)


@given(junk=st.binary(max_size=2000), inside=st.booleans())
def test_junk_is_never_taken_for_a_backup(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, *, inside: bool
) -> None:
    with pytest.raises(BackupError):
        unpack(io.BytesIO(gzip.compress(junk) if inside else junk), tmp_path_factory.mktemp("junk"))


def test_a_file_that_became_shorter_while_it_was_packed_is_told(tmp_path: Path) -> None:
    writer = ArchiveWriter(io.BytesIO())
    with pytest.raises(StorageError, match=r"7\.log became shorter"):
        writer.add("logs/7.log", io.BytesIO(b"abc"), 4, tick=lambda _more: None)
