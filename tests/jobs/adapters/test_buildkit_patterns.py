"""What .dockerignore patterns mean."""

import posixpath
import re
import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.adapters.buildkit.patterns import (
    LONGEST_PATTERN,
    MOST_CHARACTERS,
    Patterns,
    exactly_fitting,
)
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
    ("[ab].txt", "a.txt"),
    (r"\*", "*"),
    (r"\[a]", "[a]"),
    ("src/", "src/a/b"),
    ("src/", "src"),
    ("a**b", "ab"),
    ("a**b", "a/x/b"),
    ("a**b", "axx/b"),
    ("**a*", "x/ab"),
    ("//a/./b//", "a/b/c"),
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
    ("[ab].txt", "[ab].txt"),
    (r"\*", "a"),
    (r"\*", r"\*"),
    ("src/", "srcs/a"),
    ("a**b", "axb"),
    ("**a*", "xab"),
    ("../a", "a"),
    (".", "a"),
    ("/", "a"),
]


def fits(patterns: list[str], path: str) -> bool:
    return path in Patterns(patterns).fitting([path])


@pytest.mark.parametrize(("pattern", "path"), FITS)
def test_pattern_fits(pattern: str, path: str) -> None:
    assert fits([pattern], path)


@pytest.mark.parametrize(("pattern", "path"), FITS_NOT)
def test_pattern_does_not_fit(pattern: str, path: str) -> None:
    assert not fits([pattern], path)


@pytest.mark.parametrize(
    ("path", "ignored"),
    [("a/x", True), ("a/kept", False), ("a/kept/deep", False), ("a/kept/deep/no.log", True)],
)
def test_last_pattern_that_fits_decides(path: str, ignored: bool) -> None:  # noqa: FBT001
    assert fits(["a", "!a/kept", "**/*.log"], path) is ignored


def test_exception_for_a_file_in_an_excluded_folder_counts() -> None:
    paths = {"x", "src", "src/a/b"}

    assert paths - Patterns(["*", "!src"]).fitting(paths) == {"src", "src/a/b"}


def test_empty_list_fits_nothing() -> None:
    assert not fits([], "a")
    assert not fits(["", "  "], "a")
    assert Patterns(["a"]).fitting([]) == set()


NAMES = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map("/".join)
PIECES = st.lists(st.sampled_from(["a", "b", "*", "**", "?"]), min_size=1, max_size=4).map("/".join)
RULES = st.tuples(st.sampled_from(["", "!"]), PIECES).map("".join)


@given(st.lists(RULES, max_size=8), st.lists(NAMES, min_size=1, max_size=8))
def test_the_last_rule_that_fits_a_path_or_a_folder_above_decides(
    rules: list[str], paths: list[str]
) -> None:
    """Against the documented rule, read word by word: the last one that fits, or fits a parent."""

    def is_ignored(path: str) -> bool:
        ignored = False
        for rule in rules:
            pattern, above = rule.removeprefix("!"), path
            while above and not [*exactly_fitting(pattern, [above])]:
                above = posixpath.dirname(above)
            ignored = not rule.startswith("!") if above else ignored
        return ignored

    assert Patterns(rules).fitting(paths) == set(filter(is_ignored, paths))


PARTS = ["a", "b", "/", "*", "**", "**/", "?", ".", "]", "-", "[ab]", "[^a]", "[.-b]", r"\*", r"\["]
DOCKER = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", ".a", "a.b", "a-", "[", "*", "]"]), min_size=1)


@given(DOCKER, PATHS.map("/".join))
@example("a**b", "a/b")
@example("**.a", "x.a")
@example("**a*", "xab")
def test_a_pattern_fits_what_it_fits_in_docker(pattern: str, path: str) -> None:
    fits = as_in_docker(posixpath.normpath(pattern).lstrip("/"))

    assert [*exactly_fitting(pattern, [path])] == ([path] if fits.fullmatch(path) else [])


def as_in_docker(pattern: str) -> re.Pattern[str]:
    """Give the expression that moby's patternmatcher makes of a pattern.

    With one difference: there, a class may stand for a slash.
    """
    if pattern.startswith("**") and pattern[2:3] != "/" and not set(pattern[2:]) & set("*?[]\\"):
        return re.compile(f".*{re.escape(pattern[2:])}")
    parts, said = re.findall(r"\*\*/?|\\.|\[[^]]*\]|.", pattern), ""
    for place, part in enumerate(parts):
        if part.startswith("**"):
            said += ".*" if place == len(parts) - 1 else "(.*/)?"
        elif part.startswith("[") and len(part) > 1:
            said += f"(?!/){part}"
        else:
            said += {"*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part[-1]))
    return re.compile(said)


def test_folders_times_patterns_take_no_memory() -> None:
    patterns = Patterns(f"q{n}" for n in range(1000))
    paths = [f"d{n}/f" for n in range(1000)]
    tracemalloc.start()
    try:
        assert not patterns.fitting(paths)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000  # and not 8 bytes for each pair


def test_endless_pattern_is_refused_at_once() -> None:
    Patterns(["x" * LONGEST_PATTERN])
    with pytest.raises(BuildError, match=r"^the pattern 'x{40}'… is longer than 4096 characters$"):
        Patterns(["x" * 1_000_000])


@pytest.mark.parametrize("pattern", ["[", "a[b", "[]", "[a-]", "x/[^]", "[" * LONGEST_PATTERN])
def test_unclosed_bracket_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(BuildError, match="bracket that is not closed"):
        Patterns([pattern])


def test_backslash_at_the_end_is_refused_as_by_docker() -> None:
    with pytest.raises(BuildError, match=r"^the pattern 'a\\\\' has a backslash at its end$"):
        Patterns(["a\\"])


def test_patterns_of_very_many_characters_are_refused() -> None:
    """Each would take memory for all paths."""
    letters = [chr(0x4E00 + n) for n in range(MOST_CHARACTERS + 1)]
    assert Patterns(letters[1:]).fitting(letters) == set(letters[1:])
    with pytest.raises(BuildError, match="more than 1000 different characters"):
        Patterns(letters)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 40 + "b", "a" * 4000),
        ("**/a/" * 40 + "b", "a/" * 400 + "c"),
        ("**/*a*a*a/**/*a*a*b", "/".join(["a" * 60] * 60)),
        ("[a-z]*" * 40 + "!", "a" * 4000),
        ("**[^b]" * 600 + "!", "a" * 4000),
        (r"*\a" * 1300 + "!", "a" * 4000),
        ("[" + "".join(map(chr, range(0x10000, 0x10700, 2))) + "]*!", "a" * 4000),
    ],
)
def test_no_pattern_makes_matching_explode(pattern: str, path: str) -> None:
    started = time.process_time()

    assert not fits([pattern], path)
    assert time.process_time() - started < 2
