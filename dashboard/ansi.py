"""Styles of terminals as HTML. Pure.

A log is hostile text: `jobs.rules.ansi` says what of it is shown, and how; all of it is escaped
here, and nowhere else: a page is sent the lines of a log, and an app's own output, as HTML.
"""

from markupsafe import Markup, escape

from jobs.rules.ansi import BRIGHT, Style, spans

WEIGHTS = {1: "bold", 2: "dim", 3: "ital", 4: "line"}


def to_html(line: str) -> Markup:
    """Give a line of a log as HTML that is safe to show."""
    return Markup().join(_span(text, classes_of(style)) for text, style in spans(line))


def classes_of(style: Style) -> str:
    """Give the classes that make text look so; a bright colour looks like the plain one."""
    words = [WEIGHTS[weight] for weight in sorted(style.weights)]
    if style.colour is not None:
        words.append(f"c{style.colour % BRIGHT}")
    if style.ground is not None:
        words.append(f"g{style.ground % BRIGHT}")
    return " ".join(words)


def _span(text: str, classes: str) -> Markup:
    return Markup('<span class="{}">{}</span>').format(classes, text) if classes else escape(text)
