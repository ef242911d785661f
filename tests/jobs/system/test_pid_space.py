"""Which processes may conclude from a process id that another one is dead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.system.pid_space import BOOT_ID, LONGEST_ID, MACHINE_IDS, PID_NAMESPACE, ROOT, pid_space

BOOT, MACHINE = "6fe596b6-43b0-403c-9663-9e34a11975f6", "3d1219c7c4c5404aaa1f6d2a48adfda4"


def machine(folder: Path, *, boot: str = BOOT, machine_id: str = MACHINE) -> Path:
    """Make the files that name a machine; an empty id stands for a missing file."""
    for path, text in ((BOOT_ID, boot), (MACHINE_IDS[0], machine_id)):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if text:
            file.write_text(f"{text}\n")
    namespace = folder / PID_NAMESPACE
    namespace.parent.mkdir(parents=True)
    # As on every Linux machine: the first PID namespace has the same number on all of them.
    namespace.symlink_to(ROOT / PID_NAMESPACE)
    return folder


def test_all_processes_of_a_machine_have_one_space() -> None:
    code = "from jobs.system.pid_space import pid_space; print(pid_space())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert other.stdout.strip() == pid_space()


@pytest.mark.parametrize(
    "other",
    [
        {"boot": "00000000-0000-4000-8000-000000000001"},  # copies of one disk image
        {"machine_id": "0" * 32},  # copies of a running machine that were told apart later
        {"machine_id": ""},
    ],
)
def test_two_machines_with_one_host_name_have_two_spaces(
    tmp_path: Path, other: dict[str, str]
) -> None:
    one, another = machine(tmp_path / "one"), machine(tmp_path / "another", **other)
    assert pid_space(one) == pid_space(one)
    assert pid_space(one) != pid_space(another)


def test_the_second_place_of_the_machine_id_counts(tmp_path: Path) -> None:
    bare = pid_space(machine(tmp_path / "bare", machine_id=""))
    older = machine(tmp_path / "older", machine_id="")
    (older / MACHINE_IDS[1]).parent.mkdir(parents=True)
    (older / MACHINE_IDS[1]).write_text(MACHINE)
    assert bare != pid_space(older) == pid_space(machine(tmp_path / "newer"))


@pytest.mark.parametrize("missing", [BOOT_ID, PID_NAMESPACE])
def test_a_process_that_does_not_know_its_machine_knows_only_its_children(
    tmp_path: Path, missing: Path
) -> None:
    folder = machine(tmp_path)
    (folder / missing).unlink()
    code = "import sys, pathlib; from jobs.system.pid_space import pid_space;"
    code += "print(pid_space(pathlib.Path(sys.argv[1])))"
    stranger = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, check=True, text=True
    )
    assert stranger.stdout.strip() != pid_space(folder)

    reader, writer = os.pipe()
    if os.fork() == 0:  # as a worker forks the child that runs a deployment
        os.write(writer, pid_space(folder).encode())
        os._exit(0)
    os.wait()
    assert os.read(reader, 1000).decode() == pid_space(folder)
    os.close(reader)
    os.close(writer)


def test_the_name_fits_its_column_and_does_not_tell_the_machine_id(tmp_path: Path) -> None:
    long = machine(tmp_path, boot="b" * 10 * LONGEST_ID, machine_id="m" * 10 * LONGEST_ID)
    assert len(pid_space(long)) <= 100
    assert MACHINE not in pid_space(machine(tmp_path / "other"))
