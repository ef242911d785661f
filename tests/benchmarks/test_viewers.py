"""The benchmark of a watched log in its shortest form: every viewer sees every line."""

from pathlib import Path

from tests.benchmarks import viewers


def test_every_viewer_sees_every_line_and_what_that_costs_is_measured(tmp_path: Path) -> None:
    seen = viewers.measure(tmp_path, viewers=3, seconds=1.0)
    assert seen.lines > 0
    assert len(seen.delays) == 3 * seen.lines
    assert seen.share > 0
