"""The set-up scripts, as far as a test can run them without changing the machine."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MACHINE = ROOT / ".setup" / "machine.sh"
TOOLS = ("cat", "env", "printf", "sed", "tr", "sh", "sleep")


def set_up(purpose: str, path: str) -> "subprocess.CompletedProcess[str]":
    """Run the script with only PATH in its environment."""
    return subprocess.run(
        ["/bin/sh", MACHINE, purpose],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH for a user who is not root, on a machine with almost nothing installed."""
    for tool in TOOLS:
        found = next(p for d in os.defpath.split(":") if (p := Path(d) / tool).exists())
        (tmp_path / tool).symlink_to(found)
    script(tmp_path / "id", "echo 1000")
    script(tmp_path / "apt-get", "echo apt-get must not be run; exit 1")
    script(tmp_path / "python3", "exit 1")
    return tmp_path


def script(path: Path, body: str) -> None:
    """Write a shell script that replaces a program."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_machine_that_has_everything_needs_nothing() -> None:
    done = set_up("test", os.environ["PATH"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_root_the_command_that_installs_is_named(bare: Path) -> None:
    done = set_up("run", str(bare))
    assert done.returncode == 1
    command = done.stderr.partition("sudo apt-get install ")[2].split()
    assert {"git", "redis-server", "gcc", "libc6-dev", "python3-venv"} <= set(command)
    assert "chromium" not in command
    assert "must not be run" not in done.stdout


def test_only_the_tests_need_a_browser(bare: Path) -> None:
    assert "chromium" in set_up("test", str(bare)).stderr


def test_only_the_benchmarks_need_wrk(bare: Path) -> None:
    assert "wrk" not in set_up("test", str(bare)).stderr
    told = set_up("bench", str(bare)).stderr
    assert "wrk" in told
    assert "chromium" in told


def with_users(folder: Path, known: str) -> str:
    """Give a PATH for root on a machine with some users; `useradd` records its arguments."""
    script(folder / "id", "echo 0")
    script(folder / "getent", f'case " {known} " in *" $2 "*) exit 0 ;; esac; exit 2')
    script(folder / "useradd", f'echo "$*" >>{folder}/made')
    return f"{folder}:{os.environ['PATH']}"


def test_root_is_told_of_the_users_that_are_made_for_keystones_parts(tmp_path: Path) -> None:
    done = set_up("run", with_users(tmp_path, known="keystone"))
    assert (done.returncode, done.stderr) == (0, "")
    made = ["keystone-web", "keystone-redis", "keystone-router"]
    assert done.stdout.splitlines() == [f"setup: making the system user {name}" for name in made]
    asked = (tmp_path / "made").read_text().splitlines()
    assert [line.split()[-1] for line in asked] == made
    for line in asked:
        assert {"--system", "--no-create-home", "/usr/sbin/nologin"} <= set(line.split())


@pytest.mark.parametrize("name", [".setup/machine.sh", ".setup/environment.sh", ".ci/run"])
def test_the_scripts_are_plain_shell_and_can_be_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["/bin/sh", "-n", ROOT / name], check=True, timeout=10)
