"""Patterns as people write them: what is stored of them, and what is refused."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import ConfigurationError
from jobs.rules.app_fields import AppChange
from jobs.rules.mistakes import parse_input
from jobs.rules.pattern_text import MOST_PATTERNS, path_list, plain_path, plain_tag, several


def paths(*values: str) -> tuple[str, ...]:
    return parse_input(AppChange, {"watch_paths": list(values)}).watch_paths


def tags(value: str) -> str | None:
    return parse_input(AppChange, {"tag_pattern": value}).tag_pattern


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("api/**", ["api/**"]),
        ("/api/**", ["api/**"]),
        ("./api/**", ["api/**"]),
        (" api/** ", ["api/**"]),
        (".//./api//x/./y", ["api/x/y"]),
        ("api", ["api"]),
        ("api/", ["api/"]),
        ("/**", ["**"]),
        ("a/**,b/**", ["a/**", "b/**"]),
        ("a, a ,,b", ["a", "b"]),
        ("{a,b}/**", ["a/**", "b/**"]),
        ("x{1,2{3,4}}y", ["x1y", "x23y", "x24y"]),
        ("{a,b}/{c,d},e", ["a/c", "a/d", "b/c", "b/d", "e"]),
        ("{,un}seen", ["seen", "unseen"]),
        ("!/docs/**", ["!docs/**"]),
        ("! docs", ["!docs"]),
        ("!{a,b}", ["!a", "!b"]),
        ("- 'api/**'", ["api/**"]),
        ('"a/**", "b/**"', ["a/**", "b/**"]),
        ("[!ab]/x", ["[^ab]/x"]),
        # What is no list and no choice stands for itself.
        (r"a\,b", [r"a\,b"]),
        ("[a,b]pi/**", ["[a,b]pi/**"]),
        ("{{cookiecutter.name}}/**", ["{{cookiecutter.name}}/**"]),
        ("a}b{c", ["a}b{c"]),
        ("app/(group)/[[...slug]]/$id.tsx", ["app/(group)/[[...slug]]/$id.tsx"]),
        ("docs/my file.md", ["docs/my file.md"]),
    ],
)
def test_what_is_meant_is_stored(written: str, stored: Sequence[str]) -> None:
    assert list(paths(written)) == stored
    assert list(paths(*stored)) == stored


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (r"^api/.*$", "regular expressions"),
        (r"api/.*\.py$", "regular expressions"),
        (r"api/\d+", "regular expressions"),
        (r"src\app\*", "/ separates folders"),
        ("(api|web)/**", "regular expressions"),
        ("", "at least 1 character"),
        (" ", "is empty"),
        (",", "is empty"),
        ("!", "is empty"),
        ("/", "is empty"),
        ("./", "is empty"),
        ("../api", "repository's root"),
        ("api/../web", "repository's root"),
        ("api/[0-9", "bracket"),
        ("api/[9-0]", "bracket"),
        ("api\\", r"a \ at its end"),
        ("{a,b}" * 7, "more than 100"),
        ("x" * 251, "at most 250"),
    ],
)
def test_what_can_never_match_is_refused(written: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        paths("fine/**", written)
    (problem,) = caught.value.problems
    assert problem.startswith("watch_paths.1: ")
    assert said in problem


def test_lists_and_braces_count_as_what_they_stand_for() -> None:
    assert len(paths("{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}")) == 64
    with pytest.raises(ConfigurationError, match=f"{MOST_PATTERNS} patterns, and these are 128"):
        paths("a{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}", "b{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}")


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("v*", "v*"),
        (" v* ", "v*"),
        ("refs/tags/v*", "v*"),
        ("!refs/tags/v*", "!v*"),
        ("v[0-9]*", "v[0-9]*"),
        ("v[0-9]+.[0-9]+.[0-9]+", "v[0-9]+.[0-9]+.[0-9]+"),
        ("v*, !*-rc*", "v*,!*-rc*"),
        ("v{1,2}.*", "v1.*,v2.*"),
        ("release/", "release/**"),
        ("'v*'", "v*"),
    ],
)
def test_what_is_meant_is_stored_of_tags(written: str, stored: str) -> None:
    assert tags(written) == stored
    assert tags(stored) == stored


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (r"^v\d+$", "regular expressions"),
        (r"v\d+", "regular expressions"),
        ("(v|r)*", "regular expressions"),
        ("refs/tags/", "is empty"),
        ("refs/heads/main", "names a branch"),
        ("v 1", "no tag's name"),
        ("v..1", "no tag's name"),
        ("v1.lock", "no tag's name"),
        ("v[0-9", "bracket"),
        ("v{" + ",".join(map(str, range(60))) + "}.*", "at most 250"),
    ],
)
def test_what_no_tag_can_match_is_refused(written: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tags(written)
    (problem,) = caught.value.problems
    assert problem.startswith("tag_pattern: ")
    assert said in problem.replace("can be 250", "at most 250")


@given(st.text("ab/.,{}[]!\\*+?'- ", max_size=20))
def test_a_stored_form_is_stored_unchanged(written: str) -> None:
    for plain in (plain_path, plain_tag):
        try:
            stored = several(written, plain)
        except ValueError:
            continue
        assert [each for text in stored for each in several(text, plain)] == stored


@pytest.mark.parametrize(
    "written", ["{" * 250, "{a," * 83, "{a,b}" * 50, "[" * 250, "{,}" * 83, ",{" * 125, "}{," * 83]
)
def test_nothing_that_can_be_written_takes_long(written: str) -> None:
    begun = time.process_time()
    try:
        path_list([written] * 2)
    except ValueError as exc:
        assert str(exc)  # noqa: PT017
    assert time.process_time() - begun < 1
