"""Volumes on the engine: what one app keeps is never another's."""

from hypothesis import example, given
from hypothesis import strategies as st

from jobs.rules.naming import volume_name

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,5}", fullmatch=True)
volumes = st.tuples(names, names)


@given(one=volumes, other=volumes)
@example(one=("web", "a-b"), other=("web-a", "b"))
def test_two_volumes_share_a_name_only_if_they_are_the_same(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    same = volume_name("ident", *one) == volume_name("ident", *other)
    assert same is (one == other)
