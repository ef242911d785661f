"""Which tag is the newest: by the order of versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.newest_tag import is_newer, newest_tag

ORDERS = [
    ["v0.9", "v1-alpha", "v1-rc1", "v1-rc2", "v1-rc10", "v1", "v1.0.1", "v1.2", "v1.10", "v10"],
    ["api-v1.9", "api-v1.10-beta", "api-v1.10"],
    ["v1.007", "v1.08", "v1." + "9" * 5000, "v1.1" + "0" * 5000],
    ["2025-12-31", "2026-01-02"],
    ["release/9", "release/10"],
]


@pytest.mark.parametrize("order", ORDERS)
def test_versions_have_the_order_that_people_give_them(order: list[str]) -> None:
    mixed = sorted(order, key=lambda tag: tag[::-1])
    found: list[str] = []
    while mixed:
        newest = newest_tag(mixed, "**")
        assert newest is not None
        mixed.remove(newest)
        found.insert(0, newest)
    assert found == order


def test_only_tags_that_match_count() -> None:
    tags = ["v1.0", "v2.0-rc1", "api-v9", "nightly"]
    assert newest_tag(tags, "v*") == "v2.0-rc1"
    assert newest_tag(tags, "v*,!*-rc*") == "v1.0"
    assert newest_tag(tags, "w*") is None
    assert newest_tag([], "**") is None


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_two_names_can_be_compared(one: str, other: str) -> None:
    assert not (is_newer(one, other) and is_newer(other, one))
    assert not is_newer(one, one)
