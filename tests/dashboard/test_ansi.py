"""Colours of terminals become classes, and nothing else gets through."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.ansi import to_html
from jobs.rules.text import plain

CODES = st.lists(st.integers(0, 110), max_size=6).map(lambda n: f"\x1b[{';'.join(map(str, n))}m")
TEXT = st.lists(st.one_of(st.text(max_size=20), CODES), max_size=8).map("".join)
ALLOWED = re.compile(r"(bold|dim|ital|line|[cg]\d{1,2})( (bold|dim|ital|line|[cg]\d{1,2}))*")


class Reader(HTMLParser):
    """Collects what a browser would show, and every tag it would make."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def read(line: str) -> Reader:
    reader = Reader()
    reader.feed(str(to_html(line)))
    reader.close()
    return reader


@pytest.mark.parametrize(
    ("line", "html"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m end", '<span class="c1">red</span> end'),
        ("\x1b[1;92mdone\x1b[m", '<span class="bold c2">done</span>'),
        ("\x1b[1mA\x1b[22mB", '<span class="bold">A</span>B'),
        ("\x1b[41;37mA\x1b[49mB", '<span class="c7 g1">A</span><span class="c7">B</span>'),
        ("\x1b[38;5;196mA", '<span class="c1">A</span>'),
        ("\x1b[38;2;0;255;0mA", '<span class="c2">A</span>'),
        ("\x1b[38;5mA", "A"),
        ("\x1b[2Jx\x1b]0;title\x07y", "xy"),
        ("a<b>&\"'", "a&lt;b&gt;&amp;&#34;&#39;"),
    ],
)
def test_colours_become_classes_and_everything_else_goes(line: str, html: str) -> None:
    assert to_html(line) == html


@given(TEXT)
def test_no_text_can_make_a_tag_other_than_our_spans(line: str) -> None:
    for tag, attributes in read(line).tags:
        assert tag == "span"
        assert set(attributes) == {"class"}
        assert ALLOWED.fullmatch(attributes["class"] or "")


@given(TEXT)
def test_what_is_shown_is_what_was_written_without_the_codes(line: str) -> None:
    # A style between two accents makes them accents of two pieces.
    pieces = (plain(piece) for piece in re.split(r"\x1b\[[0-9;]{0,64}m", line))
    assert read(line).text == "".join(pieces) or "\x1b" in plain(line)
