"""Patterns of watched paths and tags: what matches, as GitHub Actions and as a shell read it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.app_settings import PushRules
from jobs.rules.pattern_text import plain_path, plain_tag, several
from jobs.rules.push_patterns import USUAL, is_tag_wanted, path_patterns
from jobs.rules.triggers import Deploy, decide
from tests.jobs.test_watching import touching, watching


def is_watched(path: str, patterns: Sequence[str]) -> bool:
    return decide(touching(path), watching(*patterns)) == Deploy()


# GitHub's own examples of its patterns for paths, in its documentation.
GITHUBS_PATHS = [
    ("*", "README.md", True),
    ("*", "docs/x", False),
    ("*.jsx?", "page.js", True),
    ("*.jsx?", "page.jsx", True),
    ("*.jsx?", "page.jsxx", True),  # a shell's reading
    ("*.jsx?", "page.jsxxx", False),
    ("**", "all/the/file.md", True),
    ("*.js", "app.js", True),
    ("*.js", "src/app.js", False),
    ("**.js", "src/js/app.js", True),
    ("docs/*", "docs/README.md", True),
    ("docs/*", "docs/mona/octocat.txt", False),
    ("docs/**", "docs/mona/octocat.txt", True),
    ("docs/**/*.md", "docs/README.md", True),
    ("docs/**/*.md", "docs/a/markdown/file.md", True),
    ("**/docs/**", "docs/hello.md", True),
    ("**/docs/**", "dir/docs/my-file.txt", True),
    ("**/README.md", "README.md", True),
    ("**/README.md", "js/README.md", True),
    ("**/*src/**", "my-src/code/js/app.js", True),
    ("**/*-post.md", "path/their-post.md", True),
    ("**/migrate-*.sql", "db/sept/migrate-v1.sql", True),
]
OURS = [
    ("api", "api", True),
    ("api", "api/main.go", True),
    ("api", "apis/main.go", False),
    ("services/api", "services/api/a/b", True),
    ("**/go.mod", "go.mod/x", True),
    ("api/", "api/a/b", True),
    ("[a]pi/**", "api/x", True),
    ("app/[id]/**", "app/[id]/page.tsx", True),
    ("app/[id]/**", "app/d/page.tsx", True),
    ("app/[[...slug]]/*", "app/[[...slug]]/page.tsx", True),
    ("src/routes/+page.svelte", "src/routes/+page.svelte", True),
    ("c++/**", "c++/main.cc", True),
    ("c++/**", "cc/main.cc", False),
    ("v[0-9]+/x", "v10/x", True),
    ("v[0-9]+/x", "v/x", False),
    ("v[0-9]?/x", "v/x", True),
    ("lib?/x", "liba/x", True),
    (r"\!a", "!a", True),
    (r"a\+", "aa", False),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), [*GITHUBS_PATHS, *OURS])
def test_a_path_is_watched(pattern: str, path: str, *, expected: bool) -> None:
    assert is_watched(path, [pattern]) is expected


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (["src/**", "!src/docs/**"], "src/main.py", True),
        (["src/**", "!src/docs/**"], "src/docs/x", False),
        (["!src/docs/**", "src/**"], "src/docs/x", True),
        (["src/**", "!src/docs", "src/docs/api"], "src/docs/api/x", True),
        (["!docs/**"], "main.py", True),
        (["!docs", "!*.md"], "docs/x", False),
        (["!docs", "!*.md"], "README.md", False),
        # A shell's reading would take more away than GitHub's, which never ignores too much.
        (["**", "!v?"], "vx", True),
        (["**", "!v?"], "v", False),
    ],
)
def test_what_is_taken_away_and_added_again_counts_in_order(
    patterns: Sequence[str], path: str, *, expected: bool
) -> None:
    assert is_watched(path, patterns) is expected


def test_one_path_that_is_left_is_enough() -> None:
    rule = watching("**", "!docs/**")
    assert decide(touching("docs/a", "docs/b"), rule) != Deploy()
    assert decide(touching("docs/a", "b"), rule) == Deploy()


@pytest.mark.parametrize(
    "stored", ["/api/**", "./api/**", " api/** ", "x,api/**", "{x,api}/**", "api", "'api/**'"]
)
def test_what_an_earlier_version_stored_is_read_as_it_was_meant(stored: str) -> None:
    kept = PushRules.kept({"watch_paths": [stored]})
    assert kept.watch_paths == (stored,)
    rule = replace(watching(), wanted=kept)
    assert decide(touching("api/main.go"), rule) == Deploy()
    assert decide(touching("README.md"), rule) != Deploy()


def test_what_an_earlier_version_stored_and_is_refused_now_matches_what_it_did() -> None:
    stored = PushRules.kept({"watch_paths": [r"^api/.\d"]})
    rule = replace(watching(), wanted=stored)
    assert decide(touching("^api/.d"), rule) == Deploy()
    assert decide(touching("api/1"), rule) != Deploy()


@pytest.mark.parametrize(
    ("patterns", "tag", "expected"),
    [
        ("v*", "v1", True),
        ("v*", "v1/x", False),
        ("v1", "v1/x", False),
        ("refs/tags/v*", "v1", True),
        ("v[0-9]+.[0-9]+.[0-9]+", "v1.20.300", True),
        ("v[0-9]+.[0-9]+.[0-9]+", "v1.20", False),
        ("v[12].[0-9]+.[0-9]+", "v2.10.1", True),
        ("v?.?", "v1.2", True),
        ("v1.0+*", "v1.0+build", True),
        ("v*,!*-rc*", "v1", True),
        ("v*,!*-rc*", "v1-rc1", False),
        ("!*-rc*", "v1", True),
        ("!*-rc*", "v1-rc1", False),
        ("a,b", "b", True),
    ],
)
def test_a_tag_is_wanted(patterns: str, tag: str, *, expected: bool) -> None:
    assert is_tag_wanted(patterns, tag) is expected


@given(st.text(max_size=60))
def test_nothing_that_may_be_stored_raises(text: str) -> None:
    path_patterns(text)
    is_tag_wanted(text, "v1")


@given(st.text("ab*?+/.!-refs", max_size=10))
def test_the_short_cut_for_usual_patterns_changes_nothing(text: str) -> None:
    if not USUAL.fullmatch(text):
        return
    for plain in (plain_path, plain_tag):
        try:
            assert several(text, plain) == [text]
        except ValueError as exc:
            assert plain is plain_tag or "empty" in str(exc)  # noqa: PT017
