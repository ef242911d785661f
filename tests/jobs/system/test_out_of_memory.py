"""Keystone goes last when the machine's memory is used up."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.system.out_of_memory import LAST, OWN, go_last

CAP_SYS_RESOURCE = 24


def may_go_last() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective, 16) >> CAP_SYS_RESOURCE & 1)


def test_a_lower_value_is_written(tmp_path: Path) -> None:
    file = tmp_path / "oom_score_adj"
    file.write_text("0\n")
    go_last(file)
    assert file.read_text() == str(LAST)


@pytest.mark.skipif(not may_go_last(), reason="it takes CAP_SYS_RESOURCE, which this user lacks")
def test_a_process_and_its_children_are_killed_last() -> None:
    told = (
        "import subprocess; from jobs.system.out_of_memory import go_last; go_last();"
        "print(subprocess.run(['cat', '/proc/self/oom_score_adj'], capture_output=True).stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == f"b'{LAST}\\n'"


def test_what_an_operator_wants_stays(tmp_path: Path) -> None:
    file = tmp_path / "oom_score_adj"
    file.write_text("-900\n")
    go_last(file)
    assert file.read_text() == "-900\n"


def test_a_process_without_the_right_continues_unchanged(tmp_path: Path) -> None:
    go_last(tmp_path / "none")
    assert OWN.exists()
