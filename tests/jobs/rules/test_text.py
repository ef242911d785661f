"""What of a text is shown: nothing that only a terminal or a browser sees, and lines stay lines."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.text import (
    MARK,
    bare,
    first_words,
    is_printable,
    one_line,
    plain,
    safe_json,
    several_lines,
    shown_name,
)

SEQUENCES = (
    "\x1b[31m",
    "\x1b[8m",
    "\x1b[2J",
    "\x1b[10;20H",
    "\x1b[?1049h",
    "\x1b[>4;1m",
    "\x1b]0;title\x07",
    "\x1b]52;c;aGk=\x1b\\",
    "\x1b]8;;http://evil.example\x1b\\",
    "\x1bP1$r0m\x1b\\",
    "\x1b_of a program\x9c",
    "\x1bc",
    "\x1b(0",
    "\x1b#8",
    "\x9b2K",
    "\x9d0;title\x9c",
    "\x90q\x1b\\",
)
HIDDEN = (
    *"\x00\x07\x08\x0e\x7f\x80\x8d\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a\u202e\u2060\u2064",
    *"\u2066\u2069\u3164\ufe00\ufeff\uffa0\ufff9\uffff\U000e0041\U000e0101\ud800",
)
LINE_ENDS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
READABLE = (
    "plain words, 100 %",
    "Ünïcödé — 日本語 한국어 русский ελληνικά",
    "👩‍👩‍👧‍👦 ❤️ 👍🏽 1️⃣ 🏳️‍🌈 ©️ ✓ → ▶︎",
    "نمی‌خواهم",  # a joiner keeps two letters apart
    "क्‍ष ශ්‍රී",  # a joiner decides how letters are joined
    "שָׁלוֹם עֲלֵיכֶם",
    "ที่ น้ำ",
    "Zoë Zoe\u0308",
)


@pytest.mark.parametrize("text", READABLE)
def test_what_people_write_stays(text: str) -> None:
    assert plain(text) == one_line(text) == shown_name(text) == text


@pytest.mark.parametrize("trick", [*SEQUENCES, *HIDDEN])
def test_what_nobody_sees_is_left_out_or_marked(trick: str) -> None:
    assert plain(f"ad{trick}a") == one_line(f"ad{trick}a") == bare(f"ad{trick}a") == "ada"
    assert shown_name(f"ad{trick}a") == f"ad{MARK}a"


@pytest.mark.parametrize("end", LINE_ENDS)
def test_a_line_end_makes_no_line(end: str) -> None:
    assert one_line(f" ada{end}{end}root ") == shown_name(f"ada{end}root") == "ada root"


def test_columns_cannot_be_imitated() -> None:
    assert shown_name("ada \t  \u3000 user:root") == "ada user:root"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("unfinished\x1b[12", "unfinished"),
        ("unfinished\x1b]0;title", "unfinished"),
        ("unfinished\x1b", "unfinished"),
        ("put \x1b[\x1b[2J2J together", "put 2J together"),
        ("put \x1b\x1b[31m[2J together", "put [2J together"),
        ("a\x1bé", "aé"),
        ("a\tb\nc", "a\tb\nc"),
    ],
)
def test_what_breaks_off_or_is_put_together_is_left_out(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    "text", ["a\u200db", "a\u200c", "\u200da", "a\ufe0fb", "👩\u200d", "👩\u200d\u200d👧"]
)
def test_joiners_stay_only_where_they_join(text: str) -> None:
    assert not set(plain(text)) & set("\u200c\u200d\ufe0f")


def test_accents_do_not_pile_up() -> None:
    piled = "a" + "\u0301" * 100 + "b" + "\u0e49" * 100
    assert len(plain(piled)) == len(one_line(piled)) == 2 + 2 * 4


PIECES = st.lists(
    st.one_of(st.text(max_size=5), st.sampled_from([*SEQUENCES, *HIDDEN, *LINE_ENDS, "\u200d"])),
    max_size=12,
).map("".join)


@given(PIECES)
def test_whatever_comes_is_shown_whole(text: str) -> None:
    for shown in (plain(text), one_line(text), shown_name(text), several_lines(text), bare(text)):
        kinds = {unicodedata.category(each) for each in shown if each not in "\t\n\u200c\u200d"}
        assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
        assert not set(shown) & set("\u200b\u202e\u2066\ufeff\xad")
        shown.encode()
    assert len(one_line(text).splitlines()) <= 1
    assert "  " not in one_line(text)


@given(PIECES)
def test_what_was_cleaned_is_clean(text: str) -> None:
    for clean in (one_line, shown_name):
        assert clean(clean(text)) == clean(text)


@given(PIECES)
def test_most_texts_are_told_soon(text: str) -> None:
    if is_printable(text):
        assert plain(text) == bare(text) == text


def test_no_word_is_shown_in_part() -> None:
    assert first_words("one two", 7) == "one two"
    assert first_words("one two", 6) == "one"
    assert first_words("one two", 3) == "one"
    assert first_words("onetwo", 3) == ""


@given(PIECES)
def test_json_means_the_same_and_gives_a_terminal_no_orders(text: str) -> None:
    written = json.dumps({"a": text}, ensure_ascii=False, indent=2)
    shown = safe_json(written)
    assert json.loads(shown) == json.loads(written)
    assert plain(shown) == shown
