"""What the engine's report of its disk use means, in each of its forms."""

from typing import Any

import pytest

from jobs.adapters.docker.disk import read_usage
from jobs.rules.container_values import Usage
from jobs.rules.naming import container_name, labels

OURS = labels("ident", "web", 1)
TAG = "keystone-ident/web:0123456789ab-0123456789ab"
LISTS: dict[str, list[dict[str, Any]]] = {
    "Image": [
        {"Id": "i", "Labels": OURS, "RepoTags": [TAG], "Size": 3},
        {"Id": "j", "Labels": None, "RepoTags": None, "Size": 9},
    ],
    "Container": [
        {"Names": [f"/{container_name('ident', 'web', 1)}"], "Labels": OURS},
        {"Names": ["/foreign"], "Labels": None},
    ],
    "BuildCache": [{"Size": 5, "Shared": False}, {"Size": 7, "Shared": True}, {"Size": 1}],
}
WANTED = Usage(images=1, image_bytes=3, containers=1, cache_bytes=6)

OLD_FORM = {
    "Images": LISTS["Image"],
    "Containers": LISTS["Container"],
    "BuildCache": LISTS["BuildCache"],
}
SUMMARIES = {f"{kind}Usage": {"TotalCount": len(items)} for kind, items in LISTS.items()}
NEW_FORM = {f"{kind}Usage": {"TotalCount": 2, "Items": items} for kind, items in LISTS.items()}


@pytest.mark.parametrize(
    "found",
    [OLD_FORM, NEW_FORM, {**OLD_FORM, **SUMMARIES}],
    ids=["up to 1.51", "from 1.52 on, in detail", "1.52, without the details"],
)
def test_each_form_means_the_same(found: dict[str, object]) -> None:
    assert read_usage(found, "ident") == WANTED


@pytest.mark.parametrize(
    "found",
    [
        {"Images": None, "Containers": [], "BuildCache": None},
        {"ImageUsage": None, "ContainerUsage": {"TotalCount": 0}},
        {},
    ],
)
def test_an_engine_that_has_nothing_leaves_out_the_lists(found: dict[str, object]) -> None:
    assert read_usage(found, "ident") == Usage(0, 0, 0, 0)
