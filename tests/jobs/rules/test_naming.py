"""Names on the engine: one Keystone's are never another's."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.field_types import APP_NAME
from jobs.rules.naming import (
    APP_LABEL,
    DEPLOYMENT_LABEL,
    IDENTITY_LABEL,
    container_name,
    image_repository,
    labels,
    network_name,
)

identities = st.text("abcdefghijklmnopqrstuvwxyz", min_size=6, max_size=6)
apps = st.from_regex(APP_NAME, fullmatch=True)


@given(
    one=st.tuples(identities, apps, st.integers(1, 10**9)),
    other=st.tuples(identities, apps, st.integers(1, 10**9)),
)
def test_containers_share_a_name_only_when_they_are_the_same(
    one: tuple[str, str, int], other: tuple[str, str, int]
) -> None:
    assert (container_name(*one) == container_name(*other)) is (one == other)


@given(one=st.tuples(identities, apps), other=st.tuples(identities, apps))
def test_networks_and_images_share_a_name_only_for_one_app(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert (network_name(*one) == network_name(*other)) is (one == other)
    assert (image_repository(*one) == image_repository(*other)) is (one == other)


def test_the_labels_say_whose_it_is() -> None:
    assert labels("ident", "web") == {IDENTITY_LABEL: "ident", APP_LABEL: "web"}
    assert labels("ident", "web", 7)[DEPLOYMENT_LABEL] == "7"
