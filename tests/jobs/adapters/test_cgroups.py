"""Control groups: limits put in force and read back, in one tree and in many."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.adapters.cgroups import ROOT, ControlGroup
from jobs.errors import PlatformError
from jobs.rules.container_values import Limits
from tests.images import compile_web

MIB = 1024 * 1024
LIMITS = Limits(memory=64 * MIB, pids=30, cpus=0.5)


@pytest.fixture
def one_tree(tmp_path: Path) -> Path:
    """A folder like the tree of version 2. The kernel would fill a new group by itself."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    group = tmp_path / "docker" / "buildkit"
    group.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "docker"):
        (folder / "cgroup.subtree_control").write_text("")
    for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.weight"):
        (group / name).write_text("max\n")
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\n")
    return tmp_path


class TestInOneTree:
    def test_limits_are_written_as_the_kernel_reads_them(self, one_tree: Path) -> None:
        ControlGroup("docker/buildkit", root=one_tree).limit(LIMITS)
        group = one_tree / "docker" / "buildkit"
        (group / "memory.events").unlink()
        told = {file.name: file.read_text() for file in group.iterdir()}
        assert told == {
            "memory.max": str(64 * MIB),
            "memory.swap.max": "0",
            "pids.max": "30",
            "cpu.max": "50000 100000",
            "cpu.weight": "25",
        }
        for folder in (one_tree, one_tree / "docker"):
            control = (folder / "cgroup.subtree_control").read_text()
            assert control == "+memory +pids +cpu"

    @pytest.mark.parametrize("limits", [LIMITS, Limits(), Limits(pids=5)])
    def test_what_is_in_force_is_read_back(self, one_tree: Path, limits: Limits) -> None:
        group = ControlGroup("docker/buildkit", root=one_tree)
        group.limit(LIMITS)
        group.limit(limits)
        assert group.limits() == limits

    def test_a_group_that_is_not_there_has_no_limits(self, one_tree: Path) -> None:
        assert ControlGroup("nobody", root=one_tree).limits() is None

    def test_what_was_killed_for_the_memory_is_counted(self, one_tree: Path) -> None:
        group = ControlGroup("docker/buildkit", root=one_tree)
        assert group.killed() == 2
        assert group.memory_was_used_up(1)
        assert not group.memory_was_used_up(2)
        assert ControlGroup("nobody", root=one_tree).killed() == 0


@pytest.fixture
def group() -> Iterator[ControlGroup]:
    """A group of this machine's kernel."""
    if os.geteuid() != 0:
        pytest.skip("only root may make control groups: run the tests as root to have this one too")
    group = ControlGroup(f"keystone-test-{secrets.token_hex(4)}")
    yield group
    group.remove()


class TestOnThisMachine:
    @pytest.mark.parametrize("limits", [LIMITS, Limits(), Limits(pids=5), Limits(cpus=1.5)])
    def test_what_is_put_in_force_is_read_back(self, group: ControlGroup, limits: Limits) -> None:
        assert group.limits() is None
        group.limit(LIMITS)
        group.limit(limits)
        assert group.limits() == limits
        group.remove()
        assert group.limits() is None

    def test_too_much_memory_ends_what_asks_for_it(
        self, group: ControlGroup, tmp_path: Path
    ) -> None:
        group.limit(Limits(memory=32 * MIB))
        before = group.killed()
        assert not group.memory_was_used_up(before)
        done = run_in(group, "memory", [str(compile_web(tmp_path)), "eat", "64"])
        assert done == -9
        assert group.memory_was_used_up(before)

    def test_more_processes_than_there_may_be_are_refused(
        self, group: ControlGroup, tmp_path: Path
    ) -> None:
        group.limit(Limits(pids=1))
        done = run_in(group, "pids", ["/bin/sh", "-c", f"{compile_web(tmp_path)} say one; exit 0"])
        assert done != 0

    def test_a_folder_where_no_group_can_be_made_is_told_of(self, tmp_path: Path) -> None:
        (tmp_path / "memory").write_text("no folder")
        with pytest.raises(PlatformError, match=f"{tmp_path}/memory.*: Not a directory"):
            ControlGroup("any", root=tmp_path).limit(LIMITS)


def run_in(group: ControlGroup, resource: str, command: list[str]) -> int:
    """Run a command in a group, and give how it ended."""
    is_one_tree = (ROOT / "cgroup.controllers").exists()
    folder = (ROOT if is_one_tree else ROOT / resource) / group.path
    entering = f'echo $$ > {folder}/cgroup.procs && exec "$@"'
    return subprocess.run(
        ["/bin/sh", "-c", entering, "sh", *command], check=False, timeout=60
    ).returncode
