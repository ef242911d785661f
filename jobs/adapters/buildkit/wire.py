"""The subset of protobuf's encoding that BuildKit's messages need. Pure.

Source: https://protobuf.dev/programming-guides/encoding/ (read 2026-11-20).
"""

from collections import defaultdict
from collections.abc import Iterable

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT = 10  # bytes
LOW_BITS, MORE = 0x7F, 0x80  # masks for a varint's byte: its data, and whether another byte follows


class WireError(ValueError):
    """The bytes are not a valid protobuf message."""


def number(field: int, value: int) -> bytes:
    """Encode a whole number; zero is the default and takes no bytes."""
    return _varint(field << 3 | VARINT) + _varint(value) if value else b""


def data(field: int, value: bytes) -> bytes:
    """Encode bytes, or an encoded message."""
    return _varint(field << 3 | LENGTH) + _varint(len(value)) + value


def text(field: int, value: str) -> bytes:
    """Encode text; undecodable bytes of file names (surrogate escapes) are restored unchanged."""
    return data(field, value.encode(errors="surrogateescape"))


class Message:
    """A decoded message, read field by field. A missing field gives its type's empty value."""

    def __init__(self, encoded: bytes) -> None:
        """Decode a message.

        Raises:
            WireError: the message is truncated or not protobuf.
        """
        self._numbers: dict[int, int] = {}
        self._data: defaultdict[int, list[bytes]] = defaultdict(list)
        position = 0
        while position < len(encoded):
            position = self._take_field(encoded, position)

    def number(self, field: int) -> int:
        """Give a whole number."""
        return self._numbers.get(field, 0)

    def data(self, field: int) -> bytes:
        """Give bytes; for a repeated field, the last value."""
        values = self._data.get(field)
        return values[-1] if values else b""

    def text(self, field: int) -> str:
        """Give text, with invalid UTF-8 replaced."""
        return self.data(field).decode(errors="replace")

    def message(self, field: int) -> "Message | None":
        """Give the nested message, or None when there is none."""
        return Message(self.data(field)) if field in self._data else None

    def messages(self, field: int) -> "Iterable[Message]":
        """Give every message of a repeated field, in order."""
        return map(Message, self._data.get(field, []))

    def _take_field(self, encoded: bytes, position: int) -> int:
        key, position = _read_varint(encoded, position)
        field, kind = key >> 3, key & 7
        if kind == VARINT:
            self._numbers[field], position = _read_varint(encoded, position)
            return position
        if kind == LENGTH:
            size, position = _read_varint(encoded, position)
        elif kind in FIXED_SIZES:
            size = FIXED_SIZES[kind]
        else:
            raise WireError(f"unknown wire type {kind}")
        end = position + size
        if end > len(encoded):
            raise WireError("a field is cut off")
        if kind == LENGTH:
            self._data[field].append(encoded[position:end])
        return end


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > LOW_BITS:
        encoded.append(value & LOW_BITS | MORE)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(encoded: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(encoded[position : position + LONGEST_VARINT]):
        value |= (byte & LOW_BITS) << (7 * index)
        if not byte & MORE:
            return value, position + index + 1
    raise WireError("a number is cut off or too long")
