"""What somebody may ask to be deployed, and other input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import ConfigurationError
from jobs.rules.field_types import full_ref
from jobs.rules.mistakes import parse_input
from receiver.schemas import DeployInput, RepositoryTokenInput


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("main", "refs/heads/main"),
        ("feature/log-in", "refs/heads/feature/log-in"),
        ("refs/heads/main", "refs/heads/main"),
        ("refs/heads/deadbeef", "refs/heads/deadbeef"),
        ("refs/tags/v1", "refs/tags/v1"),
        ("A" * 40, "a" * 40),
        ("b" * 64, "b" * 64),
        ("facade", "refs/heads/facade"),
        ("$(touch${IFS}x)", "refs/heads/$(touch${IFS}x)"),
    ],
)
def test_a_ref_gets_its_full_name(text: str, ref: str) -> None:
    assert full_ref(text) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        "HEAD",
        "@",
        "deadbeef",
        "a" * 39,
        "--upload-pack=x",
        "-x",
        "a b",
        "a..b",
        "main\n",
        "refs/heads/",
        "refs/notes/x",
        "refs/heads/-x",
        "refs/tags/../x",
        "x" * 251,
        "\ud800",
    ],
)
def test_what_names_nothing_for_certain_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="ref: "):
        parse_input(DeployInput, {"ref": text})


def test_a_short_commit_id_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="give all 40 characters"):
        parse_input(DeployInput, {"ref": "deadbeef"})


@given(st.text(max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        wanted = parse_input(DeployInput, {"ref": text})
    except ConfigurationError:
        return
    assert wanted.ref is not None


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "nul\0", "ümlaut", "x" * 501])
def test_a_token_that_no_header_could_carry_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        parse_input(RepositoryTokenInput, {"token": token})
    assert token not in str(refusal.value)
