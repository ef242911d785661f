"""Git's refs and object ids. Pure."""

import re

BRANCH_PREFIX = "refs/heads/"
TAG_PREFIX = "refs/tags/"
# Stands for the newest tag that an app deploys; no ref of git can hold a star.
NEWEST_TAG = "refs/tags/*"
SHA_PATTERN = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def is_sha(text: str) -> bool:
    """Whether the text is a whole object id, of SHA-1 or SHA-256."""
    return SHA_PATTERN.fullmatch(text) is not None
