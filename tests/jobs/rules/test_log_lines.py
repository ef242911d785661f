"""The last lines of an output: few, and bounded in what they hold."""

from jobs.rules.log_lines import LONGEST_LINE, LastLines


def test_only_the_last_lines_are_held() -> None:
    last = LastLines(2)
    for line in ("one", "two", "three"):
        last.add(line)

    assert list(last) == ["two", "three"]


def test_of_a_long_line_both_ends_are_held() -> None:
    last = LastLines(2)
    last.add("begin" + "x" * 10**6 + "end")
    (line,) = last

    assert line.startswith("begin")
    assert line.endswith("end")
    assert len(line) <= LONGEST_LINE + 1
