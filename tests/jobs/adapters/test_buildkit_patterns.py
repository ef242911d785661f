"""What .dockerignore patterns mean."""

import posixpath
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.buildkit.patterns import LONGEST_PATTERN, Patterns, compile_pattern
from jobs.errors import BuildError

FITS = [
    ("*.log", "a.log"),
    ("**/*.log", "a.log"),
    ("**/*.log", "x/y/a.log"),
    ("**.log", "x/y/a.log"),
    ("node_modules", "node_modules/a/b"),
    ("**/node_modules", "web/node_modules/a"),
    ("a/**", "a/b/c"),
    ("**", "a/b"),
    ("a/**/b", "a/b"),
    ("a/**/b", "a/x/y/b"),
    ("**/a/**/b", "x/a/y/a/z/b"),
    ("**/a/b", "a/a/b"),
    ("a*b*c", "aXbYbc"),
    ("foo**", "foobar/deep"),
    ("[a-c]x", "bx"),
    ("[^a-c]x", "dx"),
    ("a?c", "abc"),
    ("/anchored", "anchored"),
    ("folder/", "folder/x"),
    ("./dotted", "dotted"),
    (r"\*literal", "*literal"),
    ("é?", "éü"),
    (".*", ".git/config"),
]
FITS_NOT = [
    ("*.log", "x/a.log"),
    ("a/**", "a"),
    ("a/**", "ab/c"),
    ("a*b*c", "aXbYbcd"),
    ("a?c", "a/c"),
    ("a[^x]c", "a/c"),
    ("[a-c]x", "dx"),
    ("[^a-c]x", "bx"),
    ("[z-a]", "m"),
    (r"\*literal", "xliteral"),
    ("a.c", "abc"),
    ("foo", "foobar"),
    ("foo", "x/foo"),
    ("(a|b)+", "a"),
]


@pytest.mark.parametrize(("pattern", "path"), FITS)
def test_pattern_fits(pattern: str, path: str) -> None:
    assert Patterns([pattern]).match(path)


@pytest.mark.parametrize(("pattern", "path"), FITS_NOT)
def test_pattern_does_not_fit(pattern: str, path: str) -> None:
    assert not Patterns([pattern]).match(path)


@pytest.mark.parametrize(
    ("path", "ignored"),
    [("a/x", True), ("a/kept", False), ("a/kept/deep", False), ("a/kept/deep/no.log", True)],
)
def test_last_pattern_that_fits_decides(path: str, ignored: bool) -> None:  # noqa: FBT001
    assert Patterns(["a", "!a/kept", "**/*.log"]).match(path) is ignored


def test_exception_for_a_file_in_an_excluded_folder_counts() -> None:
    patterns = Patterns(["*", "!src"])

    assert [path for path in ("x", "src", "src/a/b") if not patterns.match(path)] == [
        "src",
        "src/a/b",
    ]


def test_empty_list_fits_nothing() -> None:
    assert not Patterns([])
    assert not Patterns(["", "  "]).match("a")


NAMES = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map("/".join)
PIECES = st.lists(st.sampled_from(["a", "b", "*", "**", "?"]), min_size=1, max_size=4).map("/".join)
RULES = st.tuples(st.sampled_from(["", "!"]), PIECES).map("".join)


@given(st.lists(RULES, max_size=8), st.lists(NAMES, min_size=1, max_size=8))
def test_what_is_remembered_of_folders_changes_no_verdict(
    rules: list[str], paths: list[str]
) -> None:
    """Against the documented rule, read word by word: the last one that fits, or fits a parent."""

    def is_ignored(path: str) -> bool:
        ignored = False
        for rule in rules:
            fits, above = compile_pattern(rule.removeprefix("!")), path
            while above and not fits.fullmatch(above):
                above = posixpath.dirname(above)
            ignored = not rule.startswith("!") if above else ignored
        return ignored

    patterns = Patterns(rules)

    assert [patterns.match(path) for path in paths] == [is_ignored(path) for path in paths]


def test_folders_times_patterns_take_no_memory() -> None:
    patterns = Patterns(f"q{n}" for n in range(1000))
    paths = [f"d{n}/f" for n in range(1000)]
    tracemalloc.start()
    try:
        assert not any(map(patterns.match, paths))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000  # and not 8 bytes for each pair


def test_endless_pattern_is_refused_at_once() -> None:
    Patterns(["x" * LONGEST_PATTERN])
    with pytest.raises(BuildError, match=r"^the pattern 'x{40}'… is longer than 4096 characters$"):
        Patterns(["x" * 1_000_000])


@pytest.mark.parametrize("pattern", ["[", "a[b", "[]", "[a-]", "x/[^]"])
def test_unclosed_bracket_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(BuildError, match="bracket that is not closed"):
        Patterns([pattern])


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 40 + "b", "a" * 4000),
        ("**/a/" * 40 + "b", "a/" * 400 + "c"),
        ("**/*a*a*a/**/*a*a*b", "/".join(["a" * 60] * 60)),
        ("[a-z]*" * 40 + "!", "a" * 4000),
    ],
)
def test_no_pattern_makes_matching_explode(pattern: str, path: str) -> None:
    started = time.process_time()

    assert not Patterns([pattern]).match(path)
    assert time.process_time() - started < 2
