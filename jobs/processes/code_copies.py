"""Copies of Keystone's code in the data directory, from which its parts run.

`git pull` changes the folder of the code while Keystone runs. Parts that are started again, and
modules that are imported late, must not mix old and new code. So `keystone up` copies the packages
and runs everything from the copy, whose folder is named after the content.
"""

import compileall
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp

from jobs.errors import StorageError
from jobs.processes.versions import Version
from jobs.storage.migrations.apply import HEAD
from jobs.system.installation import PACKAGES, code_folder, commit_of, python

FOLDER, ABOUT = "code", "about.json"
DRAFT = ".unfinished-"
DIGITS = 16
FOLDER_MODE, FILE_MODE = 0o755, 0o644  # the data directory keeps all other users out


def this_version(data_dir: Path) -> Version:
    """Copy the code of this process if there is no copy of it yet, and give its version.

    Raises:
        StorageError: the copy cannot be written.
    """
    source = code_folder()
    try:
        folder = source if is_copy(source, data_dir) else _copied(source, data_dir / FOLDER)
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError, shutil.Error) as exc:
        raise StorageError(f"the code cannot be copied to {data_dir / FOLDER}: {exc}") from exc
    return Version(python(), str(folder), about["name"], about["commit"], about["schema"])


def is_copy(code: Path, data_dir: Path) -> bool:
    """Whether a folder of code is one of the copies."""
    return code.parent == (data_dir / FOLDER).resolve() and (code / ABOUT).exists()


def digest_of(code: Path) -> str:
    """Give the digest of the code in a folder: of the names and contents of its files."""
    found = hashlib.sha256()
    for path in _files(code):
        content = path.read_bytes()
        found.update(f"{path.relative_to(code)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:DIGITS]


def keep_only(data_dir: Path, kept: Collection[str]) -> None:
    """Remove all copies but those in `kept` or in use, and the drafts of killed processes."""
    folder = data_dir / FOLDER
    names = {Path(path).name for path in kept} | set(_in_use(folder.resolve()))
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)


def _in_use(folder: Path) -> Iterator[str]:
    """Give the names of the copies that a process runs from, like a router that lives long."""
    mark = os.fsencode(f"{folder}{os.sep}")
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            for found in path.read_bytes().split(mark)[1:]:
                yield os.fsdecode(found[:DIGITS])


def _files(code: Path) -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((code / package).rglob("*")):
            if path.suffix != ".pyc" and path.is_file():
                yield path


def _copied(source: Path, folder: Path) -> Path:
    found = folder.resolve() / digest_of(source)
    if (found / ABOUT).exists():
        return found
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    folder.chmod(FOLDER_MODE)
    draft = Path(mkdtemp(prefix=DRAFT, dir=folder))
    try:
        _copy(source, draft)
        # The source may have been changed meanwhile: the name must be that of the copy's content.
        found = folder.resolve() / digest_of(draft)
        with suppress(OSError):  # another process has made it
            draft.rename(found)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return found


def _copy(source: Path, draft: Path) -> None:
    """Copy the packages with their compiled code, and compile what is missing."""
    for package in PACKAGES:
        # Python writes a compiled file under a longer name first.
        shutil.copytree(source / package, draft / package, ignore=shutil.ignore_patterns("*.pyc.*"))
        compileall.compile_dir(draft / package, quiet=2)
    about = {"name": version("keystone"), "commit": commit_of(source), "schema": HEAD}
    (draft / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    for folder, folders, names in os.walk(draft):
        for name in folders:
            (Path(folder) / name).chmod(FOLDER_MODE)
        for name in names:
            (Path(folder) / name).chmod(FILE_MODE)
    draft.chmod(FOLDER_MODE)
