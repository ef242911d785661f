"""`keystone demo`: deploy a sample app, to see Keystone work."""

import os
import signal
import time
from typing import Annotated, NoReturn

import typer

from jobs.cli import output
from jobs.demo.story import run_demo
from jobs.processes.configuration import read_settings
from jobs.settings import AllSettings

commands = typer.Typer(rich_markup_mode=None)

FOLDER = "demo"


@commands.command()
def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end of the demo.")] = False,
) -> None:
    """Deploy a sample app twice, and show that no request fails.

    Runs a separate Keystone in the folder `demo` of the data directory, on free ports, and stays up
    until Ctrl-C or SIGTERM.
    """
    settings = read_settings(AllSettings, os.environ)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    begin = time.monotonic()

    def say(text: str) -> None:
        output.say(f"[{time.monotonic() - begin:6.1f} s] {text}" if text else "")

    run_demo(settings.data_dir / FOLDER, os.environ, say, stay=not once)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    """Interrupt the demo once; ignore further signals, so that they do not disturb the clean-up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
