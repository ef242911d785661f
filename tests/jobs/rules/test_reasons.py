"""The sentence a deployment ends with, as it may be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from jobs.adapters.buildkit.failures import build_failure
from jobs.adapters.buildkit.trace import Vertex
from jobs.rules.reasons import LONGEST_QUOTED, LONGEST_REASON, quoted, shortened, shown_reason
from jobs.rules.redaction import MASK, Redactor

SECRET = "hunter2  hunter2"
REDACT = Redactor([SecretStr(SECRET)])
NOTHING = Redactor()


@given(st.integers(0, 2 * LONGEST_REASON), st.integers(0, 2 * LONGEST_REASON))
def test_no_cut_leaves_half_a_secret(before: int, after: int) -> None:
    told = shown_reason(f"{'x' * before}{SECRET}{'y' * after}", REDACT)

    assert "hunter2" not in told
    assert len(told) <= LONGEST_REASON


@pytest.mark.parametrize("trick", ["\x00", "\x1b[2K", "\x1b[31m", "\x1b]0;title\x07", "\u202e"])
def test_nothing_inside_a_secret_hides_it(trick: str) -> None:
    assert shown_reason(f"at hunter2 {trick} hunter2", REDACT) == f"at {MASK}"


@given(st.lists(st.sampled_from(["\x1b", "[", "0", "2", "J", "m", "]", "\x07", "x"])))
def test_no_escape_is_ever_left(pieces: list[str]) -> None:
    assert "\x1b" not in shown_reason("".join(pieces), NOTHING)


def test_a_long_step_leaves_room_for_the_cause() -> None:
    step = Vertex("a", f"[2/3] RUN pip  install {'x ' * 2500}", error="exit code: 2")
    told = shown_reason(str(build_failure("failed to solve", step)), NOTHING)

    assert told.startswith('the build failed at "RUN pip install x x')
    assert " … x x" in told
    assert told.endswith('x": exit code 2')
    assert len(told) <= LONGEST_REASON


def test_a_short_reason_stays_as_it_is() -> None:
    assert shortened("x" * LONGEST_REASON) == "x" * LONGEST_REASON
    assert shown_reason("one\ntwo", NOTHING) == "one two"


def test_what_is_quoted_is_unchanged_inside_its_lines_and_bounded() -> None:
    assert quoted("  a  b \r\n\n\t c\td\n") == "a  b c\td"
    assert LONGEST_QUOTED - 1 <= len(quoted("x" * 10**6)) <= LONGEST_QUOTED


@given(st.integers(LONGEST_QUOTED - 400, LONGEST_QUOTED + 400))
def test_no_bound_on_what_is_quoted_leaves_half_a_secret(before: int) -> None:
    told = shown_reason(quoted(f"{'x' * before}{SECRET}{'y' * before}"), REDACT)

    assert "hunter2" not in told
