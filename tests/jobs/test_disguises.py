"""Whatever a build step writes between the characters of a secret, nobody gets to see it.

A hostile step can always show a secret in some form that nobody knows, or a part of it. What is
held here: a text that a reader sees has none of the forms that are masked, however it was written.
"""

import base64
import html
import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pyte
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from dashboard.ansi import to_html
from jobs.rules.reasons import quoted, shown_reason
from jobs.rules.redaction import MASK, Redactor
from jobs.rules.text import bare, plain
from jobs.storage.deployment_log import DeploymentLog, read_log
from tests.jobs.rules.test_text import HIDDEN, SEQUENCES

WIDTH = 500
SECRETS = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters="[]"),
    min_size=6,
    max_size=30,
).filter(lambda secret: secret == bare(secret) and secret.casefold() not in MASK.casefold())
STYLES = ("\x1b[31m", "\x1b[0m", "\x1b[1;38;5;208m", "\x1b[8m", "\x1b[40;30m", "\x1b[5;7m")
# Between two characters: what is not shown, and takes nothing of what is.
DISGUISES = st.lists(
    st.sampled_from(["", "", *STYLES, *SEQUENCES, *HIDDEN, "\u200c", "\u200d", "\ufe0f"]),
    min_size=1,
    max_size=3,
).map("".join)
AROUND = st.lists(
    st.one_of(
        st.text(st.characters(exclude_characters="\n\r"), max_size=6), st.sampled_from(SEQUENCES)
    ),
    max_size=3,
).map("".join)
SOME = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Page(HTMLParser):
    """What a browser shows of HTML."""

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(shown)
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data


def on_terminal(text: str) -> str:
    """Give what a terminal shows of a text."""
    screen = pyte.Screen(WIDTH, text.count("\n") + 2)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    return "\n".join(line.rstrip() for line in screen.display).rstrip()


def seen_of(folder: Path, secret: str, text: str) -> list[str]:
    """Give what readers of a log see after a step has written a text."""
    path = folder / "1.log"
    path.unlink(missing_ok=True)
    redact = Redactor([SecretStr(secret)])
    log = DeploymentLog(path, redact)
    log.write("build", text)
    log.close()
    part = read_log(path)
    assert part is not None
    pages = "\n".join(Page(str(to_html(line))).text for line in part.text.split("\n"))
    return [on_terminal(part.text), pages, plain(part.text), shown_reason(text, redact)]


def disguised(data: st.DataObject, text: str) -> str:
    return "".join(f"{data.draw(DISGUISES)}{character}" for character in text)


@SOME
@given(secret=SECRETS, before=AROUND, after=AROUND, data=st.data())
def test_nothing_between_the_characters_of_a_secret_hides_it(
    tmp_path: Path, secret: str, before: str, after: str, data: st.DataObject
) -> None:
    text = f"{before}{disguised(data, secret)}{after}"
    for seen in seen_of(tmp_path, secret, text):
        assert secret not in seen


@SOME
@given(secret=SECRETS, data=st.data())
def test_a_disguised_secret_is_masked_and_not_only_broken(
    tmp_path: Path, secret: str, data: st.DataObject
) -> None:
    for seen in seen_of(tmp_path, secret, f"it is {disguised(data, secret)} here"):
        assert f"it is {MASK} here" in seen


WRITTEN = {
    "URL": lambda secret: quote(secret, safe=""),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "HTML": html.escape,
}


@pytest.mark.parametrize("form", WRITTEN.values(), ids=WRITTEN.keys())
@SOME
@given(secret=SECRETS, data=st.data())
def test_nothing_between_the_characters_hides_an_encoded_secret(
    tmp_path: Path, form: "st.SearchStrategy[str]", secret: str, data: st.DataObject
) -> None:
    written = form(secret)  # type: ignore[operator]
    for seen in seen_of(tmp_path, secret, disguised(data, written)):
        assert written not in seen
        assert MASK in seen


def spellings(character: str) -> list[str]:
    """Give some of the ways to escape a character: of URLs, of programming languages, of HTML."""
    raw = character.encode()
    units = character.encode("utf-16-be")
    pairs = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    return [
        "".join(f"%{byte:02x}" for byte in raw),
        "".join(f"%{byte:02X}" for byte in raw),
        "".join(f"\\x{byte:02x}" for byte in raw),
        "".join(f"\\u{pair}" for pair in pairs),
        "".join(f"\\u{pair.upper()}" for pair in pairs),
        f"\\u{{{ord(character):x}}}",
        f"\\U{ord(character):08x}",
        f"&#{ord(character)};",
        f"&#x{ord(character):X};",
    ]


# A reader undoes one kind at a time, and the sign that begins an escape is always escaped.
KINDS = {"%": slice(0, 2), "\\": slice(2, 7), "&": slice(7, 9)}


@SOME
@given(secret=SECRETS, sign=st.sampled_from([*KINDS]), data=st.data())
def test_it_does_not_matter_which_characters_are_escaped_and_how(
    secret: str, sign: str, data: st.DataObject
) -> None:
    def way(character: str) -> str:
        escaped = spellings(character)[KINDS[sign]]
        return data.draw(st.sampled_from(escaped if character == sign else [character, *escaped]))

    written = "".join(map(way, secret))
    shown = Redactor([SecretStr(secret)])(f"<{written}>")
    assert MASK in shown
    assert written not in shown


@pytest.mark.parametrize(
    "text",
    [
        "s\be\bc\br3t-\x00v\x7falue",
        "sec\x1b]8;;https://evil.example\x1b\\r3t\x1b]8;;\x1b\\-value",
        "sec\x1b[31mr3t\x1b[0m-value",
        "sec\u200br3t\u2060-\xadvalue",
        "sec\u202er3t\u202c-value",
        "s\x00e\x00c\x00r\x003\x00t\x00-\x00v\x00a\x00l\x00u\x00e\x00",
        'say {\\"password\\": \\"\\u0073ecr3t\\u002dvalue\\"}',
        "https:\\/\\/x:secr3t%2Dvalue@host\\/",
        "https://x:secr3t%252dvalue@host/",
        "&quot;secr3t&#45;value&quot;",
        "$'\\x73ecr3t\\055value'",
    ],
)
def test_disguises_that_were_seen(tmp_path: Path, text: str) -> None:
    for seen in seen_of(tmp_path, "secr3t-value", text):
        assert MASK in seen
        assert "r3t" not in seen


def test_a_secret_that_holds_what_is_not_shown_is_masked_without_it(tmp_path: Path) -> None:
    for secret in ("\ufeffsecr3t-value", "secr3t\x01-value", "secr3t\x85-\u200bvalue\r"):
        for seen in seen_of(tmp_path, secret, f"it is {secret} here"):
            assert "secr3t" not in seen
            assert "value" not in seen


@pytest.mark.parametrize("written", ["two+words&three", "two%20words%26three", "two+words%26three"])
def test_a_blank_may_be_written_as_a_plus(written: str) -> None:
    assert Redactor([SecretStr("two words&three")])(f"q={written}") == f"q={MASK}"


@pytest.mark.parametrize("blank", [" ", "  ", "\t", "\n", "\v", "\u2028", " \u3000 "])
def test_a_secret_with_blanks_is_known_on_one_line(blank: str) -> None:
    reason = shown_reason(quoted(f"RUN echo ab{blank}cd"), Redactor([SecretStr(f"ab{blank}cd")]))
    assert reason == f"RUN echo {MASK}"


def test_hundreds_of_secrets_that_begin_alike_are_all_known() -> None:
    redact = Redactor([SecretStr("a" * n + "b" * (n % 2)) for n in (*range(4, 200), 598, 599)])
    for length in (4, 5, 101, 598, 599):
        assert redact(f"<{'a' * length}{'b' * (length % 2)}>") == f"<{MASK}>"


def test_a_secret_drawn_over_by_a_progress_bar_is_not_put_together(tmp_path: Path) -> None:
    for seen in seen_of(tmp_path, "secr3t-value", "secr3t-\rvalue is here\r\n"):
        assert "secr3t-value" not in seen


def test_secrets_that_overlap_are_masked_whole() -> None:
    redact = Redactor([SecretStr("abcdefgh"), SecretStr("fghijklm")])
    assert redact("<abcdefghijklm>") == f"<{MASK}>"


def test_a_style_that_begins_inside_a_secret_goes_on_behind_it() -> None:
    redact = Redactor([SecretStr("secr3t-value")])
    assert redact("\x1b[31msecr3t\x1b[0m-value then") == f"\x1b[31m{MASK}\x1b[0m then"


def test_composed_and_decomposed_letters_are_the_same_secret() -> None:
    redact = Redactor([SecretStr("cafe\u0301-cre\u0300me")])
    assert redact("it is caf\xe9-cr\xe8me") == f"it is {MASK}"
    assert Redactor([SecretStr("caf\xe9-cr\xe8me")])("cafe\u0301-cre\u0300me") == MASK


@given(
    secret=st.binary(min_size=12, max_size=60).map(lambda raw: raw.hex()),
    before=st.binary(max_size=90),
    after=st.binary(max_size=90),
    width=st.sampled_from([60, 64, 76]),
)
def test_of_wrapped_base64_no_line_has_more_than_a_few_characters_of_a_secret(
    secret: str, before: bytes, after: bytes, width: int
) -> None:
    whole = base64.b64encode(before + secret.encode() + after).decode()
    redact = Redactor([SecretStr(secret)])
    lines = [whole[at : at + width] for at in range(0, len(whole), width)]
    shown = "\n".join(redact(f"#4 | {line}").removeprefix("#4 | ") for line in lines)
    # Whole groups of the encoding that are of the secret alone.
    first, last = -(-len(before) // 3) * 4, (len(before) + len(secret)) // 3 * 4
    for at in range(first, last - 8):
        assert whole[at : at + 8] not in shown.replace("\n", "")
