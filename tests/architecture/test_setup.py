"""The set-up scripts, as far as a test can run them without changing the machine."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.doctor.checks import OLDEST_HAPROXY, OLDEST_PYTHON

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


def isolated(folder: Path) -> Path:
    """Give the script as it is, except that it looks nowhere but in PATH."""
    text = MACHINE.read_text()
    alone = text.replace("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\n", "")
    assert alone != text
    (folder / "machine.sh").write_text(alone)
    return folder / "machine.sh"


def set_up_alone(folder: Path, *before: str) -> "subprocess.CompletedProcess[str]":
    """Run the script with the programs of a folder and no others, perhaps by other commands."""
    return subprocess.run(
        [*before, "/bin/sh", isolated(folder), "run"],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


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


# --- What is checked before anything is changed ----------------------------------------------

# Answers to what the script asks of Python; `-` is the question whether an engine answers.
FAKE_PYTHON = """case "$1" in -) exit {engine} ;; esac
case "$2" in *version_info*) echo {python} ;; *venv*) exit {venv} ;; esac"""
REMOVAL = "Inst docker.io (20.10 Debian:12)\\nRemv containerd.io [1.7.2-1]\\nConf docker.io"


class Apt:
    """A Debian machine on which root runs the script, with an apt-get that installs nothing.

    Attributes:
        path: the PATH with its programs.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._asked = folder / "asked"
        script(folder / "id", "echo 0")
        self.has_python("3.11")
        self.has_package("haproxy", "2.6.12-1+deb12u4")
        self.answers("")
        for tool in ("git", "redis-server", "gcc", "iptables", "dockerd", "useradd", "getent"):
            script(folder / tool, "exit 0")

    def has_python(self, version: str, *, engine: int = 0, venv: int = 0) -> None:
        body = FAKE_PYTHON.format(python=version, engine=engine, venv=venv)
        script(self.path / "python3", body)

    def has_package(self, name: str, version: str) -> None:
        told = f"{name}:\\n  Installed: (none)\\n  Candidate: {version}\\n"
        script(self.path / "apt-cache", f'[ "$2" = {name} ] && printf "{told}"; exit 0')

    def answers(self, simulated: str, code: int = 0) -> None:
        answer = f'case "$*" in *-s*) printf "{simulated}\\n"; exit {code} ;; esac'
        script(self.path / "apt-get", f'echo "$*" >>{self._asked}\n{answer}')

    def set_up(self) -> "subprocess.CompletedProcess[str]":
        return set_up_alone(self.path)

    def installed(self) -> list[str]:
        """Give the options and packages of what was really installed."""
        asked = self._asked.read_text().splitlines() if self._asked.exists() else []
        real = [line for line in asked if line.startswith("install") and " -s " not in line]
        return [word for line in real for word in line.split()]


@pytest.fixture
def apt(bare: Path) -> Apt:
    return Apt(bare)


def test_root_gets_what_is_missing_and_loses_nothing(apt: Apt) -> None:
    done = apt.set_up()
    assert (done.returncode, done.stderr) == (0, "")
    assert {"--no-remove", "haproxy"} <= set(apt.installed())
    assert "installing with apt, as this machine lacks it: haproxy" in done.stdout


def test_all_obstacles_are_told_before_anything_is_installed(apt: Apt) -> None:
    apt.has_python("3.10", venv=1)
    apt.has_package("haproxy", "2.4.22-0ubuntu0.22.04.3")
    apt.answers(REMOVAL)
    done = apt.set_up()
    assert done.returncode == 1
    assert apt.installed() == []
    assert "Python 3.11 or newer, and python3 is 3.10 here" in done.stderr
    assert "HAProxy 2.6 or newer, and it is 2.4.22-0ubuntu0.22.04.3 here" in done.stderr
    assert "apt would have to remove containerd.io to install haproxy python3-venv" in done.stderr
    assert done.stderr.splitlines()[-1] == "setup: nothing was changed"


@pytest.mark.parametrize(("told", "is_enough"), [("2.4.22", False), ("2.6.0", True), ("3.0", True)])
def test_an_installed_haproxy_is_new_enough_or_refused(
    apt: Apt, told: str, *, is_enough: bool
) -> None:
    script(apt.path / "haproxy", f'echo "HAProxy version {told}-1ubuntu1 2025/01/01"; echo more')
    done = apt.set_up()
    assert (done.returncode == 0) == is_enough
    assert (f"it is {told} here" in done.stderr) != is_enough


def test_python_that_apt_would_install_is_new_enough_or_refused(apt: Apt) -> None:
    (apt.path / "python3").unlink()
    apt.has_package("python3", "3.10.6-1~22.04.1")
    done = apt.set_up()
    assert "python3 is 3.10.6-1~22.04.1 here" in done.stderr
    assert apt.installed() == []


def test_a_package_that_apt_does_not_have_is_told_in_apts_words(apt: Apt) -> None:
    apt.answers("Reading...\\nE: Unable to locate package haproxy", code=100)
    done = apt.set_up()
    assert "apt cannot install haproxy: Unable to locate package haproxy" in done.stderr
    assert apt.installed() == []


def test_package_lists_that_cannot_be_read_again_are_used_as_they_are(apt: Apt) -> None:
    script(apt.path / "apt-get", f'echo "$*" >>{apt.path}/asked; [ "$1" != update ]')
    done = apt.set_up()
    assert done.returncode == 0
    assert "going on with the package lists that are here" in done.stdout
    assert "haproxy" in apt.installed()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take rights away")
def test_a_container_without_rights_is_told_that_no_engine_runs_in_it(apt: Apt) -> None:
    apt.has_python("3.11", engine=1)
    setpriv = shutil.which("setpriv")
    assert setpriv, "setpriv is not installed: apt-get install util-linux"
    done = set_up_alone(apt.path, setpriv, "--bounding-set=-sys_admin")
    assert done.returncode == 1
    assert "this is a container without the rights that it needs" in done.stderr
    assert apt.installed() == []


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("dnf", "dnf install git valkey haproxy gcc glibc-devel python3 moby-engine iptables-nft"),
        ("apk", "apk add git redis haproxy gcc musl-dev python3 docker iptables"),
        ("pacman", "pacman -S --needed git valkey haproxy gcc python docker iptables"),
        ("zypper", "zypper install git redis haproxy gcc glibc-devel python3 docker iptables"),
    ],
)
def test_other_distributions_packages_have_their_own_names(
    bare: Path, manager: str, command: str
) -> None:
    (bare / "apt-get").unlink()
    script(bare / manager, "echo it must not be run; exit 1")
    done = set_up_alone(bare)
    assert f"setup: run this, then try again: sudo {command}\n" in done.stderr
    assert "sudo systemctl enable --now docker" in done.stderr


def test_without_a_known_package_manager_the_things_are_named(bare: Path) -> None:
    (bare / "apt-get").unlink()
    done = set_up_alone(bare)
    assert "this machine lacks: git redis haproxy gcc python3 docker iptables" in done.stderr
    assert "your package manager" in done.stderr


def test_the_oldest_versions_are_those_of_the_doctor() -> None:
    told = dict(re.findall(r"^oldest_(\w+)=(.+)$", MACHINE.read_text(), re.MULTILINE))
    wanted = {"python": OLDEST_PYTHON, "haproxy": OLDEST_HAPROXY}
    assert told == {name: ".".join(map(str, version)) for name, version in wanted.items()}


# --- Users -----------------------------------------------------------------------------------


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
