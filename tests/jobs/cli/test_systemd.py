"""`keystone systemd`."""

from pathlib import Path

import pytest

from jobs.cli.systemd_service import Service
from tests.jobs.cli.commands import Commands


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with settings."""
    (tmp_path / ".env").write_text("KEYSTONE_DATA_DIR=./elsewhere\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_units_of_this_folder_are_shown_and_nothing_made(
    unfounded: Commands, folder: Path
) -> None:
    shown = unfounded("systemd", "show")
    assert shown.stdout.count(f"WorkingDirectory={folder}\n") == 2
    assert shown.stdout.count(f"ReadWritePaths={folder}/elsewhere\n") == 2
    assert [line for line in shown.stdout.splitlines() if line.startswith("# ---")] == [
        "# --- keystone-router.service",
        "# --- keystone.service",
    ]
    # The service has no variables of ours: what they say has to be written down.
    assert "KEYSTONE_DATA_DIR" in shown.stderr
    assert [path.name for path in folder.iterdir()] == [".env"]


@pytest.mark.parametrize("command", ["install", "remove"])
def test_without_systemd_it_says_so(
    keystone: Commands, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nowhere = Service(units=tmp_path, running=tmp_path / "not there")
    monkeypatch.setattr("jobs.cli.systemd.Service", lambda: nowhere)
    refused = keystone("systemd", command, code=2)
    assert "systemd does not run this machine" in refused.stderr
