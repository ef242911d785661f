"""What the commands say, and where they say it."""

import getpass
import io
import sys

import pytest
from pydantic import SecretStr

from jobs.cli.console import ask_secret


class Terminal(io.StringIO):
    """Standard input with somebody sitting at it."""

    def isatty(self) -> bool:
        """Be a terminal."""
        return True


def test_a_prompt_leaves_standard_output_to_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: "correct horse battery")
    assert ask_secret("password", confirm=True) == SecretStr("correct horse battery")
    told = capsys.readouterr()
    assert (told.out, "password" in told.err) == ("", True)
