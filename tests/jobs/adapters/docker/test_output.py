"""The engine's pieces of a container's output, joined to lines."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.docker import output
from jobs.adapters.docker.output import MOST_HELD, Joined, frames
from jobs.rules.container_values import OutputLine
from jobs.rules.reasons import LONGEST_QUOTED

OUT, ERR = 1, 2


def at(second: int) -> str:
    return f"2026-12-01T01:49:{second:02}.242631195Z"


def piece(second: int, text: str) -> bytes:
    return f"{at(second)} {text}".encode()


def joined(*pieces: tuple[int, bytes]) -> Joined:
    lines = Joined()
    for stream, data in pieces:
        lines.add(stream, data)
    return lines


def texts(lines: Joined, most: int = 100) -> list[str]:
    return [line.text for line in lines.last(most)]


def test_pieces_of_a_line_become_one_line_without_the_stamps_between() -> None:
    lines = joined((OUT, piece(1, "aaa")), (OUT, piece(2, "bbb")), (OUT, piece(3, "c\r\n")))

    assert lines.last(9) == [OutputLine(at(3), "aaabbbc")]
    assert (len(lines), lines.pieces) == (1, 3)


def test_two_streams_do_not_mix_in_a_line() -> None:
    lines = joined((OUT, piece(1, "aaa")), (ERR, piece(2, "error\n")), (OUT, piece(3, "bbb\n")))

    assert [(line.text, line.is_error) for line in lines.last(9)] == [
        ("error", True),
        ("aaabbb", False),
    ]


def test_unfinished_line_is_the_last() -> None:
    assert texts(joined((OUT, piece(1, "no end")), (ERR, piece(2, "error\n")))) == [
        "error",
        "no end",
    ]


def test_empty_lines_count() -> None:
    assert texts(
        joined((OUT, piece(1, "\n")), (OUT, piece(2, "two\n")), (OUT, piece(3, "\n")))
    ) == [
        "",
        "two",
        "",
    ]


def test_several_lines_in_one_piece_are_several_lines() -> None:
    assert texts(joined((OUT, piece(1, "one\n") + piece(2, "two\n")))) == ["one", "two"]


def test_what_a_line_holds_is_bounded_and_the_next_line_is_there() -> None:
    long = [(OUT, piece(1, "x" * 16_384)) for _ in range(600)]
    lines = joined(*long, (OUT, piece(2, "\xff\n")), (OUT, piece(3, "next\n")))

    assert texts(lines) == ["x" * LONGEST_QUOTED, "next"]


def test_what_all_lines_hold_together_is_bounded_and_the_last_ones_stay() -> None:
    long = [(OUT, piece(1, "x" * 60_000 + "\n")) for _ in range(200)]
    lines = joined(*long, (OUT, piece(2, "last\n")))

    assert lines.is_full
    assert sum(map(len, texts(lines, 10**6))) <= MOST_HELD
    assert texts(lines, 1) == ["last"]


@given(st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.binary(max_size=60))), st.integers(1, 9))
def test_frames_are_the_same_however_the_engine_sends_them(
    sent: list[tuple[int, bytes]], size: int
) -> None:
    data = b"".join(
        bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text for stream, text in sent
    )

    assert list(frames(data[n : n + size] for n in range(0, len(data), size))) == sent


def test_time_of_a_line_seen_is_whole_seconds() -> None:
    assert output.whole_seconds("") is None
    assert output.whole_seconds("1970-01-01T00:01:05.999999999Z") == 65
