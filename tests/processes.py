"""Looking at the machine's processes, as `ps` does."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process as the kernel describes it."""

    pid: int
    arguments: tuple[str, ...]
    environment: str  # NAME=value, separated by line breaks


def processes_about(text: str) -> list[Process]:
    """Give the processes with that text in an argument, unless they have ended."""
    return list(processes(text))


def processes(about: str = "") -> Iterator[Process]:
    """Give every process that has a command line, with a text in it; zombies have none."""
    wanted = about.encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes()
            # Tests look again and again: what is not asked for is not read.
            if wanted not in arguments:
                continue
            environment = (folder / "environ").read_bytes()
            is_same = (folder / "cmdline").read_bytes() == arguments
        except OSError:  # it ended meanwhile, or is another user's
            continue
        # One that has become another program in between would be told of as half of each.
        if arguments and is_same:
            yield Process(
                int(folder.name),
                tuple(arguments.decode("utf-8", "replace").rstrip("\0").split("\0")),
                environment.decode("utf-8", "replace").replace("\0", "\n"),
            )
