"""Keystone goes last when the machine's memory is used up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.out_of_memory import LAST, OWN, go_last


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may go after others: run as root")
def test_a_process_and_what_it_starts_go_last() -> None:
    told = (
        "import subprocess; from jobs.out_of_memory import go_last; go_last();"
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


def test_who_may_not_goes_on_as_before(tmp_path: Path) -> None:
    go_last(tmp_path / "none")
    assert OWN.exists()
