"""The error for a commit without the Dockerfile that the app names. Pure."""

import re
from collections.abc import Iterable

from jobs.rules.text import shown_name

MOST_NAMED = 3
LONGEST_NAMED = 100  # characters of a path; a longer one is not named, as it cannot be copied
_DOCKERFILE = re.compile(
    r"(?:.*/)?(?:dockerfile(?:[.-][\w.-]+)?|[\w.-]+\.dockerfile|containerfile)", re.IGNORECASE
)
_IGNORE = ".dockerignore"


def no_dockerfile(wanted: str, paths: Iterable[str]) -> str:
    """Say what to do when the commit has no Dockerfile at the path of the app's setting.

    Args:
        wanted: the app's setting.
        paths: the paths of the commit's files below the context.
    """
    told = f"there is no Dockerfile at {wanted} in the commit"
    found = sorted(filter(_is_dockerfile, paths), key=lambda path: (path.count("/"), path))
    if not found:
        return (
            f"{told}: add one (Keystone builds nothing without a Dockerfile), or name another path "
            "(`keystone app set APP --dockerfile PATH`)"
        )
    named = ", ".join(found[:MOST_NAMED]) + (", …" if len(found) > MOST_NAMED else "")
    first, folder = found[0], found[0].rpartition("/")[0]
    alone = f", or `--context {folder}` if that folder is the app" if folder else ""
    return f"{told}, but there is {named}: set `--dockerfile {first}`{alone}"


def _is_dockerfile(path: str) -> bool:
    is_plain = len(path) <= LONGEST_NAMED and shown_name(path) == path and " " not in path
    return is_plain and not path.endswith(_IGNORE) and _DOCKERFILE.fullmatch(path) is not None
