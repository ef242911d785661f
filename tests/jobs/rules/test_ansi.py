"""Styles are kept, whole and on their line; nothing else that a terminal obeys is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.ansi import PLAIN, Style, clean, cut, spans
from jobs.rules.text import plain

CODES = st.lists(st.integers(0, 120), max_size=5).map(lambda n: f"\x1b[{';'.join(map(str, n))}m")
TRICKS = st.sampled_from(["\x1b[2J", "\x1b]0;t\x07", "\x9b", "\u200b", "\x1b", "\x1b[3"])
LINES = st.lists(st.one_of(st.text(max_size=8), CODES, TRICKS), max_size=12).map("".join)
# What `clean` may write: everything is reset, then weights, a colour, a ground.
SEQUENCE = re.compile(r"\x1b\[0(?:;[1-4])*(?:;(?:3|9)[0-7])?(?:;(?:4|10)[0-7])?m")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[0;31mred\x1b[0m"),
        ("\x1b[31mred", "\x1b[0;31mred\x1b[0m"),
        ("\x1b[1;38;5;208mx\x1b[m y", "\x1b[0;1;91mx\x1b[0m y"),
        ("\x1b[1mA\x1b[22;3;4mB", "\x1b[0;1mA\x1b[0;3;4mB\x1b[0m"),
        ("\x1b[97;44mA\x1b[39mB\x1b[49mC", "\x1b[0;97;44mA\x1b[0;44mB\x1b[0mC"),
        ("\x1b[102mA", "\x1b[0;102mA\x1b[0m"),
        ("\x1b[31m\x1b[0m", ""),
        ("a\x1b[2Jb", "ab"),
        ("a\x1b[?25lb", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\tb ✓", "a\tb ✓"),
    ],
)
def test_styles_stay_and_tricks_go(text: str, left: str) -> None:
    assert clean(text) == left


@pytest.mark.parametrize("code", ["5", "6", "7", "8", "9", "10", "21", "28", "53", "58;5;1", "8;5"])
def test_what_pages_do_not_know_is_dropped(code: str) -> None:
    assert clean(f"a\x1b[{code}mb\x1b[0mc") == "abc"
    assert clean(f"\x1b[1;{code}mb") == "\x1b[0;1mb\x1b[0m"


@pytest.mark.parametrize("code", ["31;41", "31;101", "91;41", "38;5;16;40", "97;47"])
def test_no_text_has_the_colour_of_its_ground(code: str) -> None:
    assert clean(f"\x1b[{code}mhidden") == "hidden"


def test_spans_say_how_each_piece_looks() -> None:
    assert list(spans("a\x1b[1;31mb\x1b[1mc\x1b[0m")) == [
        ("a", PLAIN),
        ("bc", Style(colour=1, weights=frozenset({1}))),
    ]
    assert list(spans("")) == []


@given(LINES)
def test_a_line_stands_for_itself(line: str) -> None:
    shown = clean(line)
    sequences = re.findall(r"\x1b[^\x1b]*?m|\x1b", shown)
    assert all(SEQUENCE.fullmatch(sequence) for sequence in sequences)
    assert not sequences or sequences[-1] == "\x1b[0m"
    assert clean(shown) == shown
    assert plain(shown) == "".join(text for text, _ in spans(line))


@given(LINES, st.integers(1, 9))
def test_pieces_make_the_line_and_none_is_too_long(line: str, width: int) -> None:
    pieces = cut(clean(line), width)
    assert "".join(map(plain, pieces)) == plain(clean(line))
    assert all(len(plain(piece)) <= width for piece in pieces)
    assert all(clean(piece) == piece for piece in pieces)


def test_cutting_many_styles_takes_no_time() -> None:
    line = clean("".join(f"\x1b[{31 + n % 6}mx" for n in range(100_000)))
    assert len(cut(line, 4000)) == 25
