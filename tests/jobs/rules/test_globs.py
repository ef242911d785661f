"""Patterns for paths and tags: what fits, and that no pattern can keep us busy."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.globs import Part, Repeated, Texts, parts_of

LONGEST_S = 1.0  # of the processor: the machine may have other things to do
# Few letters, so that patterns and texts have something to do with each other.
patterns = st.text("ab/*?.[]^-\\", max_size=12)
texts = st.text("ab/.[]^-\\*\n", max_size=12)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("Dockerfile", "Dockerfile"),
        ("src/*.py", "src/app.py"),
        ("src/*.py", "src/.py"),
        ("src/", "src/app/main.py"),
        ("src/**", "src/app/main.py"),
        ("**/*.py", "main.py"),
        ("**/*.py", "src/app/main.py"),
        ("src/**/main.py", "src/main.py"),
        ("src/**/main.py", "src/a/b/main.py"),
        ("**", ""),
        ("*", ""),
        ("v?.*", "v1.2.3"),
        ("release-*", "release-"),
        ("[ab].txt", "a.txt"),
        ("[ab].txt", "b.txt"),
        ("src/[a-c]*.py", "src/build.py"),
        ("[^a-c]x", "dx"),
        ("[^a]", "^"),
        ("v[0-9].[0-9]", "v1.2"),
        (r"[\]a\-]", "]"),
        (r"[\]a\-]", "-"),
        ("[é-ü😀]", "ö"),
        ("[é-ü😀]", "😀"),
        ("[.]", "."),
        ("[+&&||~~[]", "["),
        (r"\*", "*"),
        (r"\**", "*.md"),
        (r"\?\[a]", "?[a]"),
        (r"app/\[id]/page.tsx", "app/[id]/page.tsx"),
        (r"\a\\", "a\\"),
        # What is no class stands for itself.
        ("a[1.txt", "a[1.txt"),
        ("[]a]", "[]a]"),
        ("[a-]", "[a-]"),
        ("a\\", "a\\"),
        ("]", "]"),
        ("ünïcode/*", "ünïcode/é"),
        ("*\n*", "a\nb"),
    ],
)
def test_matching_paths(pattern: str, text: str) -> None:
    assert matches(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("src", "src/app.py"),
        ("src/*.py", "src/app/main.py"),
        ("src/*.py", "other/src/app.py"),
        ("src/", "src"),
        ("src/", "srcs/app.py"),
        ("src/**/main.py", "srcs/main.py"),
        ("src/**/main.py", "src/notmain.py"),
        ("*", "a/b"),
        ("v?", "v"),
        ("v?", "v/"),
        ("v?", "v12"),
        ("[ab].txt", "[ab].txt"),
        ("[ab].txt", "c.txt"),
        ("[ab].txt", "ab.txt"),
        ("[^a-c]x", "bx"),
        ("[^a-c]", "/"),
        ("[.-0]", "/"),
        ("[^a]", ""),
        ("[z-a]", "m"),
        (r"\*", "a"),
        (r"\*", r"\*"),
        (r"\?", "a"),
        (r"\[ab]", "a"),
        ("main.py", "main_py"),
        ("", "a"),
        ("A", "a"),
    ],
)
def test_paths_that_do_not_match(pattern: str, text: str) -> None:
    assert not matches(pattern, text)


@given(pattern=patterns, text=texts)
def test_a_pattern_matches_like_the_equal_regular_expression(pattern: str, text: str) -> None:
    assert matches(pattern, text) is (as_regex(pattern).fullmatch(text) is not None)


@given(pattern=st.text(max_size=250), text=st.text(max_size=100))
def test_nothing_that_can_be_written_raises(pattern: str, text: str) -> None:
    assert matches(pattern, text) in {True, False}


@given(pattern=patterns, some=st.lists(texts, max_size=5))
def test_of_several_texts_each_is_matched_by_itself(pattern: str, some: list[str]) -> None:
    regex = as_regex(pattern)
    assert any_matches(Texts(some), pattern) is any(regex.fullmatch(text) for text in some)


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 125,
        "**/" * 83,
        "**a" * 83,
        "*" * 250,
        "**/*a" * 50,
        "*[a-z]" * 41,
        "**[^b]" * 41,
        r"*\a" * 83,
        "[" * 250,
        "[a-" * 83,
        r"[\a" * 83,
        "[" + "^" * 249,
    ],
)
@pytest.mark.parametrize("text", ["a" * 499 + "b", "a/" * 250])
def test_a_hostile_pattern_takes_no_time(pattern: str, text: str) -> None:
    begun = time.process_time()
    matches(pattern, text)
    assert time.process_time() - begun < LONGEST_S


def test_a_pattern_takes_as_many_steps_as_it_has_parts_however_many_texts_there_are() -> None:
    texts = Counting(["a/" * 2000] * 100)
    assert not any_matches(texts, "**/*a/b")
    assert texts.steps == 5
    assert texts.size == 400_100


@given(
    repeated=st.lists(
        st.tuples(st.sampled_from(["a", "[ab]", "[^a]", r"\+", "*", "**"]), st.sampled_from("+? ")),
        max_size=6,
    ),
    some=st.lists(st.text("ab+c", max_size=8), max_size=5),
)
def test_a_repeated_part_matches_like_the_equal_regular_expression(
    repeated: list[tuple[str, str]], some: list[str]
) -> None:
    words = {"*": "[^/]*", "**": ".*"}
    parts: list[Part] = []
    said = ""
    for part, times in repeated:
        is_repeated = part not in words and times != " "
        parts.append(Repeated(part, is_needed=times == "+") if is_repeated else part)
        said += words.get(part, part) + (times if is_repeated else "")
    texts = Texts(some)
    found = texts.ending_at(texts.fitted_by(parts))
    assert found == [text for text in some if re.fullmatch(said, text)]


def test_one_matching_text_of_many_is_enough() -> None:
    texts = Texts(iter(["README.md", "src/a"]))
    assert any_matches(texts, "src/*")
    assert not any_matches(texts, "docs/")
    assert not any_matches(Texts(["README.md", "src/a/b"]), "src/*")
    assert not any_matches(Texts([]), "**")


def matches(pattern: str, text: str) -> bool:
    return any_matches(Texts([text]), pattern)


def any_matches(texts: Texts, pattern: str) -> bool:
    """Whether a pattern matches any whole text; one with a slash at its end matches all below."""
    return texts.fitted_by(parts_of(f"{pattern}**" if pattern.endswith("/") else pattern)) != 0


class Counting(Texts):
    """Counts the parts that a pattern was taken apart into."""

    steps = 0

    def _after(self, part: Part, reached: int) -> int:
        self.steps += 1
        return super()._after(part, reached)


def as_regex(pattern: str) -> re.Pattern[str]:
    """Say the same in another language; too slow for strangers' patterns."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    rest, said = f"{pattern}**" if pattern.endswith("/") else pattern, ""
    while rest:
        known = next((word for word in words if rest.startswith(word)), None)
        if known is not None:
            said, rest = said + words[known], rest.removeprefix(known)
        elif (found := read_class(rest)) is not None:
            told, rest = found
            said += told
        else:
            rest = rest[1:] if len(rest) > 1 and rest[0] == "\\" else rest
            said, rest = said + re.escape(rest[0]), rest[1:]
    return re.compile(said, re.DOTALL)


def read_class(rest: str) -> tuple[str, str] | None:
    """Read a class letter by letter; give what it is in the other language, and what follows."""
    if not rest.startswith("["):
        return None
    is_negated = rest.startswith("[^")
    place, told = 2 if is_negated else 1, list[str]()
    while not told or not rest.startswith("]", place):
        if (low := read_member(rest, place)) is None:
            return None
        high, place = low, place + len(low)
        if rest.startswith("-", place):
            if (end := read_member(rest, place + 1)) is None:
                return None
            high, place = end, place + 1 + len(end)
        told.append(f"{re.escape(low[-1])}-{re.escape(high[-1])}" if low[-1] <= high[-1] else "")
    members = "".join(told)
    if not members:
        return ("[^/]" if is_negated else "(?!)"), rest[place + 1 :]
    return f"(?!/)[{'^' if is_negated else ''}{members}]", rest[place + 1 :]


def read_member(rest: str, place: int) -> str | None:
    """Read one character of a class, with the backslash before it."""
    member = rest[place : place + 2] if rest.startswith("\\", place) else rest[place : place + 1]
    return None if member in {"", "\\", "]", "-"} else member
