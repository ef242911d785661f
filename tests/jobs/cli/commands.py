"""The command line inside a test: what it prints, and with which code it exits."""

import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from jobs.cli.main import main

Environ = dict[str, str]


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:  # noqa: ANN401 — whatever the command says
        """Read what a program would read."""
        return json.loads(self.stdout)


class Commands:
    """Runs `keystone …` with settings of the test's own."""

    def __init__(
        self,
        environ: Environ,
        monkeypatch: pytest.MonkeyPatch,
        capture: pytest.CaptureFixture[str],
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capture = capture
        for name, value in environ.items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str, stdin: str | bytes = "", code: int = 0) -> Finished:
        """Run a command, and make sure of its exit code."""
        given = io.BytesIO(stdin.encode() if isinstance(stdin, str) else stdin)
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given, encoding="utf-8"))
        self._capture.readouterr()
        finished = Finished(_exit_code(lambda: main(arguments)), *self._capture.readouterr())
        assert finished.code == code, finished
        assert "Traceback" not in finished.stderr
        return finished


def _exit_code(run: Callable[[], None]) -> int:
    mask = os.umask(0o022)
    try:
        run()
    except SystemExit as exc:
        return int(exc.code or 0)
    finally:
        os.umask(mask)
    return 0
