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


# --- Environments ----------------------------------------------------------------------------

PYTHON = """case "$*" in
  -VV) echo "Python 3.11.2" ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *"pip freeze"*) cat "$(dirname "$0")/../freeze" 2>/dev/null ;;
  *"pip install"*) echo "$*" >>"$PLACE/installed" ;;
esac
exit 0"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder of code, and a `python3` that only pretends to install."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "requirements.lock").write_text("one==1 \\\n    --hash=sha256:1\n")
    (folder / "requirements-test.lock").write_text("one==1\npsycopg==3\npytest==9\n")
    (folder / "pyproject.toml").write_text('[project]\nname = "keystone"\n[tool.x]\na = 1\n')
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "python3", PYTHON)
    return folder


def environment(folder: Path, *arguments: str) -> str:
    """Run the script; give what it prints for other scripts."""
    done = subprocess.run(
        [ROOT / ".setup" / "environment.sh", *arguments],
        cwd=folder,
        env={"PATH": f"{folder.parent}/bin:{os.environ['PATH']}", "PLACE": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout.strip()


def installed(folder: Path) -> list[str]:
    """Give what was installed since the last time."""
    file = folder / "installed"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [line.partition("--no-input ")[2] for line in lines]


def test_an_environment_is_made_once_and_the_link_leads_to_it(checkout: Path) -> None:
    assert environment(checkout, "requirements.lock") == ""
    first = (checkout / ".venv").readlink()
    assert first.parent == Path(".venvs")
    assert len(installed(checkout)) == 2
    environment(checkout, "requirements.lock")
    # Settings of tools, and files' times, change nothing.
    (checkout / "pyproject.toml").write_text('[project]\nname = "keystone"\n[tool.x]\na = 2\n')
    environment(checkout, "requirements.lock")
    assert installed(checkout) == []
    assert (checkout / ".venv").readlink() == first


def test_other_packages_get_an_environment_of_their_own_beside_the_one_in_use(
    checkout: Path,
) -> None:
    environment(checkout, "requirements.lock")
    first = (checkout / ".venv").readlink()
    assert environment(checkout, "requirements.lock", "--beside") == str(first)
    (checkout / "requirements.lock").write_text("one==2\n")
    beside = environment(checkout, "requirements.lock", "--beside")
    assert beside != str(first)
    assert (checkout / ".venv").readlink() == first
    installed(checkout)
    environment(checkout, "requirements.lock")
    assert installed(checkout) == []
    assert (checkout / ".venv").readlink() == Path(beside)
    assert (checkout / first).is_dir()


def test_the_packages_of_the_tests_include_those_of_keystone(checkout: Path) -> None:
    environment(checkout, "requirements-test.lock")
    to_test = (checkout / ".venv").readlink()
    environment(checkout, "requirements.lock")
    assert (checkout / ".venv").readlink() == to_test
    assert (checkout / ".venv" / ".ready-to-test").exists()


def test_an_environment_that_is_a_folder_is_moved_and_what_was_added_is_installed_again(
    checkout: Path,
) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "mine").write_text("of the user")
    script(checkout / ".venv" / "bin" / "python", PYTHON)
    (checkout / ".venv" / "freeze").write_text("one==1\npsycopg==3.3.9\npytest==9\nkeystone==1\n")
    environment(checkout, "requirements.lock")
    assert installed(checkout)[-1] == "psycopg==3.3.9"
    (moved,) = (checkout / ".venvs").glob("earlier-*")
    assert (moved / "mine").read_text() == "of the user"
    # From one environment to the next as well.
    (checkout / ".venv" / "freeze").write_text("one==1\nPsycopg_Binary==3.3.9\n")
    (checkout / "requirements.lock").write_text("one==2\n")
    environment(checkout, "requirements.lock", "--beside")
    assert installed(checkout)[-1] == "Psycopg_Binary==3.3.9"
