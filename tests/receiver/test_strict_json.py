"""JSON that a front door should not let in."""

import pytest

from receiver.strict_json import MOST_DIGITS, MOST_VALUES, strict_json


def test_plain_json_is_read() -> None:
    assert strict_json('{"a": [1, 2.5, "ü", null, true]}'.encode()) == {
        "a": [1, 2.5, "ü", None, True]
    }


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"[" * 200_000, "too deeply"),
        (b'{"a":' * 200_000, "too deeply"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'[{"deep": {"b": 1, "b": 1}}]', "twice"),
        (b"NaN", "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b"\xff\xfe", "UTF-8"),
        (b"9" * (MOST_DIGITS + 1), "digits"),
        (b"[-" + b"9" * 1_000_000 + b"]", "digits"),
        (b"[" + b"1," * MOST_VALUES + b"1]", "more than 600,000 values"),
        (b"[" + b"{}," * (MOST_VALUES // 2) + b"1]", "values"),
        (b"[" + b"[]," * (MOST_VALUES // 2) + b"1]", "values"),
        (b"", "not JSON"),
        (b"{'a': 1}", "not JSON"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_a_reason(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        strict_json(raw)


def test_as_many_values_as_a_large_push_has_are_read() -> None:
    assert len(strict_json(b"[" + b"1," * (MOST_VALUES - 2) + b"1]")) == MOST_VALUES - 1


def test_a_number_as_long_as_any_id_is_read() -> None:
    assert strict_json(b"9" * MOST_DIGITS) == 10**MOST_DIGITS - 1


def test_a_byte_order_mark_is_passed_over() -> None:
    assert strict_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
