"""`keystone rotate-key`: seal the stored secrets with a new key."""

import json
import sys
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from jobs.cli.console import AsJson, actor, open_to_change
from jobs.cli.output import say, say_json
from jobs.processes.rotation import Rotation, drop_old, rotate
from jobs.processes.runtime import Runtime
from jobs.settings import AllSettings

commands = typer.Typer(rich_markup_mode=None)


@commands.command("rotate-key")
def rotate_key(
    *,
    drop: Annotated[
        bool,
        typer.Option("--drop-old", help="Only remove the keys that no secret is sealed with."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Seal all stored secrets with a new key, while Keystone runs.

    If the command is killed, run it again: it continues where it stopped. The old key stays, and
    opens what is still sealed with it, until `keystone rotate-key --drop-old`.

    Exits 2 if the keys come from KEYSTONE_SECRET_KEY, and says what you must change there. Exits 4
    if a key cannot be dropped yet, or another rotation is running.
    """
    keystone = open_to_change()
    if drop:
        dropped = drop_old(keystone, actor(), wait=_wait)
        _show({"dropped": dropped}, _told_of(dropped), as_json=as_json)
        return
    done = _rotate(keystone)
    _show(asdict(done), _summary(done), as_json=as_json)


def _show(values: dict[str, Any], told: str, *, as_json: bool) -> None:
    if as_json:
        say_json(json.dumps(values, indent=2))
    else:
        say(told)


def _rotate(keystone: Runtime[AllSettings]) -> Rotation:
    with typer.progressbar(length=1, label="Sealing", file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        return rotate(keystone, actor(), told=show)


def _wait(seconds: float) -> None:
    if seconds:
        say(f"Waiting {seconds:.0f} s for what was begun with the old key.", err=True)
        time.sleep(seconds)


def _told_of(dropped: list[str]) -> str:
    return f"Dropped: {', '.join(dropped)}." if dropped else "There is no older key to drop."


def _summary(done: Rotation) -> str:
    begun = "The new key is" if done.is_new else "Finished what was begun earlier; the key is"
    lines = [f"{begun} {done.newest}. Stored secrets sealed anew: {done.resealed}."]
    if done.unreadable:
        lines.append(f"{done.unreadable} more are sealed with a key that is not here.")
    if done.older:
        lines.append(
            f"Still kept: {', '.join(done.older)}. `keystone rotate-key --drop-old` drops what "
            "nothing is sealed with; backups made before bring their key along."
        )
    return "\n".join(lines)
