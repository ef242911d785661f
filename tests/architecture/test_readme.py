"""The README documents every setting, command, exit code and make target."""

from collections.abc import Iterator
from pathlib import Path

from typer.core import TyperGroup

from jobs.cli.main import CONTENTS, EXIT_CODES, load
from jobs.settings import PREFIX, AllSettings

README = (Path(__file__).parents[2] / "README.md").read_text()
MAKE_TARGETS = ("setup", "demo", "run", "upgrade", "test", "check", "faults")


def commands() -> Iterator[str]:
    """List every command people may use, with its group."""
    for name, entry in CONTENTS.items():
        command = load(name)
        if isinstance(command, TyperGroup):
            yield from (f"{name} {sub}" for sub in command.commands)
        elif not entry.hidden:
            yield name


def wanted() -> Iterator[str]:
    """Give every text that must be in the README."""
    yield from (f"`{PREFIX}{name.upper()}`" for name in AllSettings.model_fields)
    yield from (f"keystone {command}" for command in commands())
    yield from (f"`{code}`" for code in (0, 1, *EXIT_CODES.values()))
    yield from (f"make {target}" for target in MAKE_TARGETS)


def test_settings_commands_exit_codes_and_make_targets_are_documented() -> None:
    found = list(wanted())
    assert len(found) > 80
    assert [text for text in found if text not in README] == []
