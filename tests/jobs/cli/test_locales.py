"""The command line in locales without UTF-8, as a program, and with bytes that are no text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli.main import CONTENTS
from jobs.processes.runtime import Runtime
from jobs.reads.apps import find_app
from jobs.reads.variables import open_variables
from jobs.settings import AllSettings
from tests.jobs.cli.commands import Commands, Environ

Inside = Runtime[AllSettings]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
STREAMS = {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"}
CITY = "Zürich → 東京"


@pytest.fixture(scope="session")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A German locale of the nineties, made for the test."""
    folder = tmp_path_factory.mktemp("locales")
    name = folder / "de_DE.ISO-8859-1"
    words = ["localedef", "--no-archive", "-i", "de_DE", "-f", "ISO-8859-1", str(name)]
    made = subprocess.run(words, capture_output=True, timeout=120, check=False)
    assert name.is_dir(), made.stderr
    environ = {"LOCPATH": str(folder), "LC_ALL": name.name}
    asked = [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"]
    told = subprocess.run(asked, env=environ, capture_output=True, timeout=60, check=True)
    assert told.stdout == b"iso8859-1\n"
    return environ


@pytest.fixture(params=["ascii", "streams", "latin-1"])
def locale(request: pytest.FixtureRequest, latin_1: dict[str, str]) -> dict[str, str]:
    """The variables that choose a locale."""
    return {"ascii": ASCII, "streams": STREAMS, "latin-1": latin_1}[request.param]


class Program:
    """`keystone` as a program of its own, in a locale."""

    def __init__(self, environ: Environ, folder: Path) -> None:
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
        self.folder: Path | bytes = folder

    def __call__(self, *arguments: str | bytes, stdin: bytes = b"", code: int = 0) -> str:
        """Run a command; give everything that it says."""
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", *arguments],
            env={**self.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )
        told = (done.stdout + done.stderr).decode()
        assert "Traceback" not in told, told
        assert done.returncode == code, told
        return told


@pytest.fixture
def program(
    keystone: Commands, environ: Environ, locale: dict[str, str], tmp_path: Path
) -> Program:
    """The program, with an app."""
    keystone("app", "add", "web", "--repository", "octo/web")
    return Program({**environ, **locale}, tmp_path)


@pytest.mark.parametrize("command", CONTENTS)
def test_every_command_has_its_help_in_ascii(command: str, tmp_path: Path) -> None:
    told = Program(ASCII, tmp_path)(command, "--help")
    assert told.startswith(f"Usage: python -m jobs.cli {command} ") or "Usage:" in told


def kept(inside: Inside) -> dict[str, str]:
    """Give each variable's value."""
    with inside.database.reading() as session:
        found = open_variables(session, find_app(session, "web"), inside.vault)
    return {name: variable.value.get_secret_value() for name, variable in found.items()}


def test_what_is_written_is_what_is_kept_and_shown(
    program: Program, inside: Inside, tmp_path: Path
) -> None:
    (tmp_path / "Zürich.env").write_text(f"FILE='{CITY}'\n", encoding="utf-8-sig")
    apps = f'[apps.web.env]\nAPPLIED = "{CITY}"\n'
    (tmp_path / "Äpfel.toml").write_text(apps, encoding="utf-8-sig")
    program("env", "set", "web", f"GIVEN={CITY}")
    program("env", "set", "web", "PASSPHRASE", stdin=f"{CITY}\n".encode())
    program("env", "import", "web", "Zürich.env")
    program("env", "import", "web", "-", stdin=f"PIPED={CITY}\n".encode())
    assert f"+ web → {CITY}" not in program("apply", "Äpfel.toml", "--yes")
    names = ("APPLIED", "FILE", "GIVEN", "PASSPHRASE", "PIPED")
    assert kept(inside) == dict.fromkeys(names, CITY)
    assert program("env", "list", "web").count(CITY) == len(names) - 1
    assert "Exit codes: 0 done ·" in program("--help")
    assert "KEYSTONE_DATA_DIR" in program("config")
    assert "web" in program("status")
    assert "no app named" in program("app", "show", "Zürich", code=3)


BAD = "Zürich".encode("latin-1")


def test_bytes_that_are_no_text_end_in_a_sentence(
    program: Program, inside: Inside, tmp_path: Path
) -> None:
    told = program("env", "set", "web", b"MODE=" + BAD, code=2)
    assert told.startswith("keystone: argument 4 is not text in UTF-8: MODE=Z")
    told = program("env", "import", "web", "-", stdin=b"A=1\nMODE=" + BAD + b"\n", code=2)
    assert told == "keystone: - holds no text in UTF-8: see line 2, byte 11\n"
    told = program("env", "set", "web", "MODE", stdin=BAD, code=2)
    assert told == "keystone: MODE: what was given is not text in UTF-8\n"
    (tmp_path / "apps.toml").write_bytes(b"[apps.web.env]\nA = '" + BAD + b"'\n")
    told = program("apply", "apps.toml", "--yes", code=2)
    assert told == "keystone: apps.toml holds no text in UTF-8: see line 2, byte 22\n"
    (tmp_path / "apps.toml").write_text("[apps.web.env]\nA = { file = 'key' }\nB = {env='BAD'}\n")
    (tmp_path / "key").write_bytes(BAD)
    environ = {**program.environ, "BAD": BAD.decode(errors="surrogateescape")}
    told = Program(environ, tmp_path)("apply", "apps.toml", "--yes", code=2)
    assert "key holds no text in UTF-8: see line 1, byte 2" in told
    assert "the environment variable BAD is not text in UTF-8" in told
    assert kept(inside) == {}


def test_settings_that_are_no_text_end_in_a_sentence(program: Program, tmp_path: Path) -> None:
    bad = BAD.decode(errors="surrogateescape")
    told = Program({**program.environ, "KEYSTONE_HOST": bad}, tmp_path)("config", code=2)
    assert told == "keystone: KEYSTONE_HOST: is not text in UTF-8\n"
    (tmp_path / "secret").write_bytes(BAD)
    environ = {**program.environ, "KEYSTONE_GITHUB_TOKEN_FILE": "secret"}
    told = Program(environ, tmp_path)("config", code=2)
    assert "KEYSTONE_GITHUB_TOKEN_FILE: its file holds no text in UTF-8: see line 1" in told
    (tmp_path / ".env").write_bytes(b"\n\nKEYSTONE_WORKERS=" + BAD)
    told = program("config", code=2)
    assert told == "keystone: .env holds no text in UTF-8: see line 3, byte 21\n"


def test_windows_files_are_read(program: Program, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfKEYSTONE_WORKERS=3\r\nKEYSTONE_PORT=8123\r\n")
    told = program("config")
    assert "KEYSTONE_WORKERS" in told
    assert "8123" in told


def test_a_folder_whose_name_is_no_text_is_refused(program: Program, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/" + BAD
    Path(os.fsdecode(folder)).mkdir()
    del program.environ["KEYSTONE_DATA_DIR"]
    program.folder = folder
    told = program("config", code=2)
    assert told.startswith("keystone: KEYSTONE_DATA_DIR: its path is not text in UTF-8")
