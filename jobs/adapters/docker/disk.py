"""Measures what Keystone uses of the engine's disk, and makes room in its build cache.

Source: https://docs.docker.com/reference/api/engine/version-history/, v1.42 (`type`), v1.48
(`reserved-space`), v1.52 and v1.53 (`verbose`, the new fields) (read 2026-12-01).
"""

import time
from collections.abc import Mapping
from typing import Any

from docker.api import APIClient
from docker.errors import APIError

from jobs.adapters.docker.failures import NOT_FOUND, Tolerated, json_of
from jobs.adapters.docker.values import is_our_container, is_our_image
from jobs.rules.container_values import Usage

# For all versions alike, because a request may be sent again with another version: an engine
# ignores what its version does not have. Without types, it also measures all volumes.
WANTED = {"type": ["image", "container", "build-cache"], "verbose": "1"}
KEPT = ("keep-storage", "reserved-space")  # each engine reads one of them, and else keeps nothing
ALREADY_COUNTING = "a disk usage operation is already running"
ASK_AGAIN_S = 0.2


def measure_usage(api: APIClient, identity: str, *, within_s: float) -> Usage:
    """Measure the disk use. The SDK's errors pass through."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            # Not `api.df`, which takes no options.
            url = f"{api.base_url}/v{api.api_version}/system/df"
            found = json_of(api.get(url, params=WANTED, timeout=api.timeout))
            return read_usage(found, identity)
        except APIError as exc:
            # The engine runs one such count at a time, and refuses concurrent requests.
            if ALREADY_COUNTING not in str(exc) or time.monotonic() > deadline:
                raise
        time.sleep(ASK_AGAIN_S)


def read_usage(found: Mapping[str, Any], identity: str) -> Usage:
    """Turn the engine's report of its disk use into ours, in its form before or since 1.52."""
    images = [each for each in _items(found, "Image") if is_our_image(each, identity)]
    containers = [each for each in _items(found, "Container") if is_our_container(each, identity)]
    # Cache that is shared with an image is already counted as part of the image.
    cache = [each for each in _items(found, "BuildCache") if not each.get("Shared")]
    return Usage(
        images=len(images),
        image_bytes=sum(each.get("Size") or 0 for each in images),
        containers=len(containers),
        cache_bytes=sum(each.get("Size") or 0 for each in cache),
    )


def _items(found: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Give the objects of a kind; an engine leaves out a list that would be empty."""
    since = (found.get(f"{kind}Usage") or {}).get("Items")
    before = found.get(kind) or found.get(f"{kind}s")  # BuildCache, Images, Containers
    return since or before or []


def trim_build_cache(api: APIClient, keep_bytes: int) -> int:
    """Delete unused build cache, oldest first, down to that size; give the bytes freed."""
    # Not `api.prune_builds`, which only knows the older name.
    url = f"{api.base_url}/v{api.api_version}/build/prune"
    wanted = {"all": "1", **dict.fromkeys(KEPT, str(keep_bytes))}
    # Not found: Podman has no such cache.
    with Tolerated(NOT_FOUND):
        freed = json_of(api.post(url, params=wanted, timeout=api.timeout))
        return int(freed.get("SpaceReclaimed") or 0)
    return 0
