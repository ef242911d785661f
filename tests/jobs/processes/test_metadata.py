"""What the doctor says of the metadata service, and who has the part that blocks it."""

import os
from pathlib import Path

import pytest

from jobs.processes.metadata import reach_of_metadata, unblock_metadata
from jobs.processes.separation import Together
from jobs.processes.supervise import programs
from jobs.rules.findings import Verdict
from jobs.settings import Settings


def parts(settings: Settings) -> list[str]:
    return [part.name for part in programs(settings, Together())]


def test_the_part_is_there_when_it_is_wanted_and_may_do_it(tmp_path: Path) -> None:
    assert "firewall" not in parts(Settings(data_dir=tmp_path))
    wanted = parts(Settings(data_dir=tmp_path, block_metadata=True))
    assert ("firewall" in wanted) is (os.geteuid() == 0)


def test_the_doctor_says_that_it_is_off(tmp_path: Path) -> None:
    found = reach_of_metadata(Settings(data_dir=tmp_path), "abcdef")
    assert (found.verdict, found.fix) == (Verdict.IDLE, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the packet filter")
def test_the_doctor_misses_rules_that_are_not_there(tmp_path: Path) -> None:
    found = reach_of_metadata(Settings(data_dir=tmp_path, block_metadata=True), "nobody")
    assert found.verdict is Verdict.WARNING
    assert found.found == "containers reach it: rules are missing"


def test_without_a_mark_there_is_nothing_to_take_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.adapters.firewall.SYSTEM_PATH", str(tmp_path))
    unblock_metadata(Settings(data_dir=tmp_path), "abcdef")
