"""JSON that a front door should not let in."""

import pytest

from receiver.strict_json import strict_json


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
        (b"9" * 5000, "a number has too many digits"),
        (b"", "not JSON"),
        (b"{'a': 1}", "not JSON"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_a_reason(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        strict_json(raw)
