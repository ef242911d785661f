"""TOML from somebody else: what is read, what is refused, and how long either takes."""

import time
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.rules.strict_toml import DEEPEST, strict_toml

MIB = 1024 * 1024
# Signs that mean something to TOML, and some that do not.
SOUP = st.text(st.sampled_from(list("[]{}.,=#\n\"'\\ a1-\t\r\u2028é")), max_size=60)


def test_a_file_of_a_windows_program_is_read() -> None:
    assert strict_toml("\ufeffa = 'ü'\r\n[b]\r\n") == {"a": "ü", "b": {}}


def verdict(text: str) -> object:
    """Give what the strict reader gives, or that it refused."""
    try:
        return strict_toml(text)
    except ValueError:
        return ValueError


def usual(text: str) -> object:
    """Give what the standard library gives, or that it refused."""
    try:
        return tomllib.loads(text)
    except ValueError:
        return ValueError


@given(SOUP)
@example('a = """x""""" # ends in two quotation marks')
@example("a = '''x'''''")
@example('a = "\\\\"\n[b]')
@example('a = """\\""""')
def test_what_is_shallow_is_read_as_by_anybody(text: str) -> None:
    assert verdict(text) == usual(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20_000,
        "a = " + "[" * 20_000 + "]" * 20_000,
        "a = " + "{a = " * 20_000,
        "[" + "a." * 20_000 + "a]",
        "a." * 20_000 + "a = 1",
        '"a" . ' * 20_000 + "a = 1",
        'x = "]]]"\ny = """\n]]]"""\n# ]]]\na = ' + "[" * (DEEPEST + 1),
    ],
    ids=lambda text: text[:8],
)
def test_depth_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it is nested too deeply \(at line \d\)$"):
        strict_toml(text)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * DEEPEST + "]" * DEEPEST,
        "a." * DEEPEST + "a = 1",
        'a = "' + "[" * 1000 + '"',
        "a = '" + "." * 1000 + "'",
        'a = """' + "\n[{." * 1000 + '"""',
        "# " + "[" * 1000,
        "a = [" + "1.5, [2.5], " * 1000 + "]",
        "\n".join(f"[t{number}.a.b]\nx = 1.5" for number in range(1000)),
    ],
    ids=lambda text: text[:8],
)
def test_what_is_long_but_not_deep_is_read(text: str) -> None:
    assert strict_toml(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = " + "1" * 5000, "a number has too many digits"),
        ("a", "it is not TOML: Expected '=' after a key"),
        ("a = 1\na = 2", "it is not TOML: Cannot overwrite a value"),
        ('a = "', "it is not TOML: "),
        ("a = '''", "it is not TOML: "),
        ('a = "\\ud800"', "it is not TOML: "),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_wrong_is_told(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        strict_toml(text)


@pytest.mark.parametrize(
    "sign", ['"', "'", '"""', "'''", '"""\\"', '\\"', "[", "]", "{", ".", '".', "#", "a=[", "\n"]
)
def test_looking_for_depth_takes_no_longer_than_the_text(sign: str) -> None:
    for text in (sign * (MIB // len(sign)), f'a = """{sign * (MIB // len(sign))}'):
        begun = time.process_time()
        verdict(text)
        assert time.process_time() - begun < 60  # a quadratic search would take hours
