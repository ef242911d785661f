"""Twelve small repositories in the shape of real ones, one in each folder beside this file."""

from pathlib import Path

from tests.debian_image import local_names
from tests.gitserver import Content, Executable

_FOLDER = Path(__file__).parent
# Git would obey these files here, too: they have no dot in this repository.
_OF_GIT = {"gitattributes", "gitmodules"}


def files_of(name: str) -> dict[str, Content]:
    """Give a repository's files, whose Dockerfiles start from images of this machine."""
    paths = sorted(path for path in (_FOLDER / name).rglob("*") if path.is_file())
    return {_name_in(name, path): _content(path) for path in paths if path.suffix != ".pyc"}


def _name_in(name: str, path: Path) -> str:
    relative = path.relative_to(_FOLDER / name).as_posix()
    return f".{relative}" if relative in _OF_GIT else relative


def _content(path: Path) -> Content:
    if path.name == "Dockerfile":
        return local_names(path.read_text())
    raw = path.read_bytes()
    return Executable(raw) if path.stat().st_mode & 0o100 else raw
