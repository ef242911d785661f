"""`keystone backup` and `keystone restore`: save a Keystone to one file, and restore it."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from jobs.adapters.docker.engine import DockerEngine
from jobs.backups.making import Contents, Progress, note_backup, save_backup, write_backup
from jobs.backups.manifest import DATABASE, KEY, MIB, Manifest
from jobs.backups.restoring import Restored, restore_backup
from jobs.cli.console import PIPE, AsJson, actor
from jobs.cli.output import say, say_json
from jobs.errors import ConfigurationError, PlatformError, StorageError
from jobs.processes.configuration import read_settings
from jobs.rules.container_values import Container
from jobs.rules.text import moment
from jobs.settings import AllSettings

commands = typer.Typer(rich_markup_mode=None)

ENGINE_PATIENCE_S = 10


@commands.command()
def backup(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The file to write; - for standard output.")
    ],
    *,
    logs: Annotated[bool, typer.Option("--logs", help="Include the deployments' logs.")] = False,
    without_key: Annotated[
        bool,
        typer.Option("--without-key", help="Omit the key of the secrets; keep it elsewhere."),
    ] = False,
    without_database: Annotated[
        bool,
        typer.Option("--without-database", help="For PostgreSQL; back that up with pg_dump."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Back up this Keystone into one file, while it runs.

    The file can open every secret unless it is made --without-key: keep it like a password.
    """
    settings = read_settings(AllSettings, os.environ)
    contents = Contents(database=not without_database, key=not without_key, logs=logs)
    with _shown() as progress, _stopped_tidily():
        if file == PIPE:
            manifest = _to_pipe(settings, contents, progress)
        else:
            manifest = save_backup(settings, Path(file), contents, force=force, progress=progress)
    note_backup(settings, manifest, actor())
    if as_json and file != PIPE:
        say_json(manifest.model_dump_json(indent=2))
    else:
        _tell_made(manifest, file)


def _to_pipe(settings: AllSettings, contents: Contents, progress: Progress) -> Manifest:
    if sys.stdout.isatty():
        raise ConfigurationError("a backup is not text: name a file, or pipe it elsewhere")
    try:
        # Use a separate writer: Python would try at exit to flush `sys.stdout` again.
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as target:
            return write_backup(settings, target, contents, progress=progress)
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise StorageError(f"standard output cannot be written: {exc.strerror}") from exc


def _tell_made(manifest: Manifest, file: str) -> None:
    size = sum(member.size for member in manifest.files.values())
    parts = [
        f"the database (schema {manifest.schema_version})" if DATABASE in manifest.files else "",
        "the key" if KEY in manifest.files else "",
        f"{len(manifest.logs)} logs" if manifest.logs else "",
    ]
    told = ", ".join(part for part in parts if part)
    what = "The backup" if file == PIPE else file
    say(f"{what} holds {told}: {size / MIB:.1f} MB before packing.", err=file == PIPE)
    if KEY in manifest.files:
        say("It opens every secret: keep it like a password.", err=file == PIPE)
    else:
        say("It is worth nothing without the key.", err=file == PIPE)


@contextmanager
def _stopped_tidily() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C inside the block, so that no partial file is left."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _shown() -> Iterator[Progress]:
    """Show a progress bar if standard error is a terminal."""
    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("")
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=max(done, total)
        )


@commands.command()
def restore(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A file of `keystone backup`; - for a pipe.")
    ],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Move an existing database aside.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a Keystone from a backup; the next `keystone up` deploys its apps again.

    Nothing is changed unless the backup is complete and fits, and its secrets can be opened.
    """
    settings = read_settings(AllSettings, os.environ)
    with _opened(file) as source, _stopped_tidily():
        restored = restore_backup(settings, source, force=force, look=_containers, actor=actor())
    if as_json:
        say_json(_as_json(restored))
    else:
        _tell_restored(restored)


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == PIPE:
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            source = stack.enter_context(Path(file).open("rb"))
        except OSError as exc:
            raise ConfigurationError(f"{file} cannot be read: {exc.strerror}") from exc
        yield source


def _containers(identity: str) -> Sequence[Container]:
    """Give the containers that exist on the engine; none if the engine does not answer."""
    engine = DockerEngine.from_environment(identity, timeout_s=ENGINE_PATIENCE_S)
    try:
        return engine.containers()
    except PlatformError as exc:
        say(f"keystone: {exc}; the apps are down until they are deployed again", err=True)
        return []
    finally:
        engine.close()


def _as_json(restored: Restored) -> str:
    return json.dumps(
        {
            "backup": restored.manifest.model_dump(mode="json", exclude={"files"}),
            "apps": list(restored.revived.apps),
            "serving": list(restored.revived.serving),
            "moved": list(map(str, restored.moved)),
        },
        indent=2,
    )


def _tell_restored(restored: Restored) -> None:
    manifest, revived = restored.manifest, restored.revived
    say(f"Restored from the backup of {moment(manifest.made_at)} (Keystone {manifest.keystone}).")
    for path in restored.moved:
        say(f"The previous file is kept as {path}.")
    if revived.apps:
        say(f"`keystone up` deploys the live commits of: {', '.join(revived.apps)}.")
    if revived.serving:
        say(f"Until then their containers serve: {', '.join(revived.serving)}.")
    say("Everybody has to log in again.")
