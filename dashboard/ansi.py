"""Renders terminal styles as HTML. Pure.

A log is untrusted text: `jobs.rules.ansi` decides which text is shown, and in which style. Only
this module escapes the lines of a log and an app's own output, which pages get as HTML.
"""

from markupsafe import Markup, escape

from jobs.rules.ansi import BRIGHT, Style, spans

WEIGHTS = {1: "bold", 2: "dim", 3: "ital", 4: "line"}


def to_html(line: str) -> Markup:
    """Give a line of a log as HTML that is safe to show."""
    return Markup().join(_span(text, classes_of(style)) for text, style in spans(line))


def classes_of(style: Style) -> str:
    """Give the CSS classes of a style; a bright colour has the class of the normal one."""
    words = [WEIGHTS[weight] for weight in sorted(style.weights)]
    if style.colour is not None:
        words.append(f"c{style.colour % BRIGHT}")
    if style.ground is not None:
        words.append(f"g{style.ground % BRIGHT}")
    return " ".join(words)


def _span(text: str, classes: str) -> Markup:
    return Markup('<span class="{}">{}</span>').format(classes, text) if classes else escape(text)
