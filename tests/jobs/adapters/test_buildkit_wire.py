"""The protobuf that BuildKit's messages need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.buildkit import wire


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_number_comes_back_as_it_went(value: int) -> None:
    assert wire.Message(wire.number(3, value)).number(3) == value


@given(st.lists(st.text(), max_size=5))
def test_repeated_messages_come_back_in_order(texts: list[str]) -> None:
    encoded = b"".join(wire.data(2, wire.text(1, text)) for text in texts)

    assert [inner.text(1) for inner in wire.Message(encoded).messages(2)] == texts


def test_known_bytes_are_understood() -> None:
    # protobuf.dev's own examples: 150 in field 1, "testing" in field 2.
    message = wire.Message(b"\x08\x96\x01\x12\x07testing")

    assert (message.number(1), message.text(2)) == (150, "testing")
    assert wire.number(1, 150) + wire.text(2, "testing") == b"\x08\x96\x01\x12\x07testing"


def test_missing_fields_are_empty() -> None:
    message = wire.Message(b"")

    assert (message.number(1), message.data(2), message.text(3)) == (0, b"", "")
    assert message.message(4) is None
    assert list(message.messages(5)) == []


def test_fields_of_fixed_size_are_stepped_over() -> None:
    message = wire.Message(b"\x09" + b"8" * 8 + b"\x15" + b"4" * 4 + wire.number(3, 7))

    assert message.number(3) == 7


def test_undecodable_file_name_goes_out_as_it_came() -> None:
    name = b"caf\xe9".decode(errors="surrogateescape")

    assert wire.text(1, name) == b"\x0a\x04caf\xe9"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_wire_error(encoded: bytes) -> None:
    try:
        wire.Message(encoded)
    except wire.WireError:
        return


@pytest.mark.parametrize("encoded", [b"\x08", b"\x0a\x05abc", b"\x0b", b"\x08" + b"\xff" * 11])
def test_broken_bytes_are_refused(encoded: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.Message(encoded)
