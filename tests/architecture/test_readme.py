"""The README tells of everything there is: it fails here when something new is not in it."""

from pathlib import Path

import pytest
from typer.core import TyperGroup

from jobs.cli.main import CONTENTS, EXIT_CODES, load
from jobs.settings import PREFIX, AllSettings

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("name", AllSettings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{PREFIX}{name.upper()}`" in README


def commands() -> list[str]:
    """List every command people may use, with its group."""
    found = []
    for name, entry in CONTENTS.items():
        command = load(name)
        if isinstance(command, TyperGroup):
            found += [f"{name} {sub}" for sub in command.commands]
        elif not entry.hidden:
            found.append(name)
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_documented(command: str) -> None:
    assert f"keystone {command}" in README


@pytest.mark.parametrize("code", [0, 1, *EXIT_CODES.values()])
def test_every_exit_code_is_documented(code: int) -> None:
    assert f"`{code}`" in README


@pytest.mark.parametrize("target", ["setup", "demo", "run", "test", "check", "faults"])
def test_every_make_target_is_documented(target: str) -> None:
    assert f"make {target}" in README
