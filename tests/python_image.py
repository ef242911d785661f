"""An image with this machine's own Python and real web servers in it, for apps of the tests.

No registry is needed: the interpreter, the libraries it is linked to, the standard library and the
packages are put into the image at the very paths they have here.
"""

import hashlib
import importlib.metadata
import io
import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker

PACKAGES = ("gunicorn", "packaging", "uvicorn", "click", "h11")
SITE = "/site"
# Of the standard library, what no server needs.
LEFT_OUT = frozenset({"site-packages", "test", "idlelib", "tkinter", "turtledemo", "ensurepip"})
LEFT_OUT_BEGINNINGS = ("config-", "__pycache__", "_tkinter", "lib2to3", "pydoc_data")
PYTHON = Path(os.path.realpath(sys.executable))


def dockerfile(*command: str) -> str:
    """Give the Dockerfile of an app of one file, `app.py`, that this command serves."""
    words = ", ".join(f'"{word}"' for word in (str(PYTHON), *command))
    return f"FROM {tag()}\nCOPY app.py /app/app.py\nWORKDIR /app\nCMD [{words}]\n"


def tag() -> str:
    """Name the image after what is in it."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    told = "\n".join([sys.version, *versions, Path(__file__).read_text()])
    return f"keystone-tests/python:{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def ensure_image(client: docker.DockerClient) -> str:
    """Make the image unless the engine has it, and give its tag."""
    name = tag()
    if not client.images.list(name):
        repository, _, version = name.partition(":")
        changes = [f"ENV PYTHONPATH={SITE}", "ENV PYTHONUNBUFFERED=1", "ENV PATH=/nowhere"]
        client.api.import_image_from_data(
            _archive(), repository=repository, tag=version, changes=changes
        )
    return name


def _archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, name in _files():
            archive.add(path.resolve(), name.lstrip("/"), recursive=False)
        for folder in ("tmp", "app", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(entry)
        users = b"root:x:0:0:root:/:/nowhere\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size, entry.mode = len(users), 0o644
        archive.addfile(entry, io.BytesIO(users))
    return packed.getvalue()


def _files() -> Iterator[tuple[Path, str]]:
    """Give every file with the path it has in the image."""
    yield PYTHON, str(PYTHON)
    linked = {PYTHON}
    for path in _standard_library():
        yield path, str(path)
        if path.suffix == ".so":
            linked.add(path)
    for library in _libraries(linked):
        yield Path(library), library
    for package in PACKAGES:
        for file in importlib.metadata.files(package) or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                yield Path(str(file.locate())), f"{SITE}/{file.as_posix()}"


def _standard_library() -> Iterator[Path]:
    for folder, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if _is_wanted(name)]
        yield from (Path(folder) / name for name in files if _is_wanted(name))


def _is_wanted(name: str) -> bool:
    return name not in LEFT_OUT and not name.startswith(LEFT_OUT_BEGINNINGS)


def _libraries(programs: set[Path]) -> set[str]:
    """Give the shared libraries that programs are linked to, by their paths here."""
    listed = subprocess.run(
        ["ldd", *map(str, sorted(programs))],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    words = (line.split() for line in listed.stdout.splitlines() if "(0x" in line)
    found = {word for line in words for word in line if word.startswith("/")}
    return {library for library in found if Path(library).exists()}
