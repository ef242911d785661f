"""Files keep their time while they stay the same, and are new when they change."""

from dataclasses import replace
from pathlib import Path

from jobs.adapters.git.times import dated
from jobs.rules.repository_values import TreeEntry

ONE = TreeEntry("a", 0o100644, 3, "1" * 40)
OTHER = TreeEntry("b", 0o100644, 3, "2" * 40)


def test_a_file_that_stays_the_same_keeps_its_time(tmp_path: Path) -> None:
    before = dated(tmp_path, "", [ONE, OTHER])
    changed = replace(OTHER, blob="3" * 40)

    one, other = dated(tmp_path, "", [ONE, changed])

    assert one.changed_ns == before[0].changed_ns > 0
    assert other.changed_ns > before[1].changed_ns


def test_a_file_that_goes_back_to_an_earlier_content_has_changed_again(tmp_path: Path) -> None:
    (first,) = dated(tmp_path, "", [ONE])
    dated(tmp_path, "", [replace(ONE, blob="3" * 40)])

    (again,) = dated(tmp_path, "", [ONE])

    assert again.changed_ns > first.changed_ns


def test_folders_are_dated_apart(tmp_path: Path) -> None:
    (first,) = dated(tmp_path, "web", [ONE])
    dated(tmp_path, "api", [replace(ONE, blob="3" * 40)])

    assert dated(tmp_path, "web", [ONE]) == [first]


def test_a_list_that_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    dated(tmp_path, "", [ONE])
    (file,) = (tmp_path / "times").iterdir()
    file.write_text("{")

    (one,) = dated(tmp_path, "", [ONE])

    assert one.changed_ns > 0
    assert dated(tmp_path, "", [ONE]) == [one]


def test_a_list_that_cannot_be_written_keeps_nobody_from_deploying(tmp_path: Path) -> None:
    (tmp_path / "times").touch()

    (one,) = dated(tmp_path, "", [ONE])

    assert one.changed_ns > 0


def test_nothing_but_the_list_is_written(tmp_path: Path) -> None:
    dated(tmp_path, "", [ONE])
    dated(tmp_path, "", [OTHER])

    assert [file.suffix for file in (tmp_path / "times").iterdir()] == [".json"]
