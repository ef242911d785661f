"""Says why COPY or ADD did not find a file: it is not there, left out, or spelled otherwise. Pure.

The builder only says that the file is not in what it was given.
"""

import re

from jobs.adapters.buildkit.context import Context
from jobs.rules.text import shown_name

LONGEST_NAME = 200  # characters
# The builders' sentences, and the path in each: BuildKit's, two of them, and the older builder's.
# They quote the Dockerfile, so the repetitions are bounded.
_NOT_FOUND = re.compile(
    r"\"/?([^\"]+)\"(?::)? not found"
    r"|\blstat /\S{0,300}?(?:buildkit-mount|docker-builder)\d+/([^:]+): no such file"
    r"|(?:COPY|ADD) failed: .{0,300}\bstat "
    r"(?:/\S{0,300}?(?:buildkit-mount|docker-builder)\d+/)?([^:]+): "
    r"(?:file does not exist|no such file)"
)
_COPIES = re.compile(r"(?:COPY|ADD)\s", re.IGNORECASE)
_FROM_STAGE = re.compile(r"--from=", re.IGNORECASE)


def missing_path(step: str, error: str) -> str | None:
    """Give the path that a step copies from the context and did not find; None if it failed else.

    Args:
        step: the instruction, without the builder's number before it.
        error: the builder's error.
    """
    if not _COPIES.match(step) or _FROM_STAGE.search(step):
        return None
    found = _NOT_FOUND.search(error)
    return next(filter(None, found.groups()), None) if found else None


def why_missing(context: Context, path: str, *, dockerfile: str, commit: str, folder: str) -> str:
    """Say why a file is not in the build context.

    Args:
        path: relative to the context.
        dockerfile: the Dockerfile's path, beside which its own .dockerignore may be.
        commit: the commit's SHA; empty if it is not known.
        folder: the context's path in the repository.
    """
    shown = shown_name(path)[:LONGEST_NAME]
    if context.submodule_of(path):
        return f"{shown} is in a submodule"
    if context.has(path):
        file = context.ignore_file(dockerfile)
        return f"{shown} is in the repository, but {file} leaves it out"
    where = "the repository" if folder in {"", "."} else f"the folder {folder} of the repository"
    at = f" at {commit[:7]}" if commit else ""
    told = f"{shown} is not in {where}{at}"
    if other := context.other_spelling(path):
        return f"{told} (but {shown_name(other)[:LONGEST_NAME]} is)"
    return f"{told} (is it ignored by .gitignore, or not committed?)"
