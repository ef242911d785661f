"""Rotates the vault's key: adds a new key and seals everything with it, while Keystone runs.

The rotation is safe at every moment, also when it is killed, because of this order:

1. The key file is replaced atomically: the new key first, the old keys after it. Every process
   reads the file before it seals and when it finds an unknown key (`jobs.storage.vault`), so no
   process needs a notification.
2. In small transactions, every value sealed with an old key is sealed again with the new key. A row
   that changes meanwhile keeps its new value. A restarted rotation continues where it ended.
3. The old keys stay until an operator drops them. Dropping first waits until no transaction can be
   running that began before the new key, and removes only keys that no value is sealed with.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, func, select

from jobs.errors import ConfigurationError, ConflictError
from jobs.processes.runtime import OwnSettings, Runtime
from jobs.processes.supervise import is_up
from jobs.records.audit import Tag, note
from jobs.records.vault_keys import (
    SETTING,
    count_by_key,
    forget_keys,
    remember_key,
    replace_sealed,
    sealed_columns,
)
from jobs.rules.actors import Actor
from jobs.settings import Settings
from jobs.storage.database import Database
from jobs.storage.vault import KEY_FILE, Vault, fingerprint, make_key, read_keys, write_keys
from jobs.system.file_lock import only_one
from jobs.system.private_folder import ensure_private

BATCH = 100
# Pause between two batches, so that other writers can get the lock.
PAUSE_S = 0.01
# The next pass finds values that were sealed with the old key during a pass.
MOST_PASSES = 3
# Longer than any transaction can last.
SETTLED_AFTER_S = 60.0
LOCK_FILE = "rotation.lock"
RING_FILE = "ring"

_FIRST_STEPS = f"""
the keys come from {SETTING}, which only you can change:
1. put a new key and a comma before the present one: {SETTING}=NEW,OLD
   (`openssl rand -hex 32` makes a key)
2. start every `keystone up` again, so that all of it knows both
3. run `keystone rotate-key` again: it seals everything with the new key
4. take the old key out of the setting, and start Keystone again
"""
_NEXT_KEY = f"""
everything is sealed with {{newest}}, the first key of {SETTING}
`keystone rotate-key --drop-old` says which of the others may be taken out
for yet another key, put it before them (`openssl rand -hex 32` makes one), start Keystone again
and run this again
"""

Told = Callable[[int, int], None]  # called with the number of checked values, and of all values


@dataclass(frozen=True)
class Rotation:
    """The result of a rotation.

    Attributes:
        newest: the fingerprint of the key that seals everything now.
        older: the fingerprints of the older keys that are still kept.
        resealed: how many values were sealed again.
        is_new: whether this call created the newest key; otherwise it finished an earlier rotation.
        unreadable: the number of values that no key here decrypts; they are unchanged.
    """

    newest: str
    older: list[str]
    resealed: int
    is_new: bool
    unreadable: int


def rotate(runtime: Runtime[OwnSettings], actor: Actor, *, told: Told) -> Rotation:
    """Seal everything with a new key, or finish an earlier rotation.

    Raises:
        ConfigurationError: the keys come from a setting without a new key; it says what to do.
        ConflictError: another rotation is running, or the running Keystone lacks the new key.
    """
    with _alone(runtime.settings):
        before = _counts(runtime)
        is_new = not _outdated(before, runtime.vault)
        if is_new:
            _add_key(runtime, actor)
        _ensure_known_to_all(runtime)
        resealed = _reseal_all(runtime, told=told)
        after, newest = _counts(runtime), runtime.vault.fingerprints[0]
        with runtime.database.writing() as session:
            note(session, Tag.KEY_ROTATED, actor, f"key:{newest}", resealed=resealed)
        older = runtime.vault.fingerprints[1:]
        return Rotation(newest, older, resealed, is_new, after[None])


def drop_old(
    runtime: Runtime[OwnSettings], actor: Actor, *, wait: Callable[[float], None] = time.sleep
) -> list[str]:
    """Remove the older keys that no value is sealed with from the key file.

    Args:
        wait: sleeps for the given seconds, at most a minute.

    Returns:
        The fingerprints of the dropped keys.

    Raises:
        ConfigurationError: the keys come from a setting; it says which keys may be removed.
        ConflictError: something is still sealed with each of the older keys.
    """
    with _alone(runtime.settings):
        older = runtime.vault.fingerprints[1:]
        if not older:
            return []
        if runtime.vault.is_kept:
            wait(_unsettled_s(_key_file(runtime)))
        return _drop(runtime, actor, older)


def _drop(runtime: Runtime[OwnSettings], actor: Actor, older: list[str]) -> list[str]:
    # Count and drop in one write transaction: on SQLite no process can seal in between.
    with runtime.database.writing() as session:
        counts = count_by_key(session, runtime.vault)
        unused = [name for name in older if not counts[name]]
        if not unused:
            raise ConflictError(
                f"{sum(counts[name] for name in older)} stored secrets are still sealed with "
                f"{' and '.join(older)}; run `keystone rotate-key` first"
            )
        if not runtime.vault.is_kept:
            raise ConfigurationError(
                f"nothing is sealed with {' and '.join(unused)} any more: take "
                f"{'it' if len(unused) == 1 else 'them'} out of {SETTING} and start Keystone again"
            )
        path = _key_file(runtime)
        write_keys(path, [key for key in read_keys(path) if fingerprint(key) not in unused])
        forget_keys(session, unused)
        note(
            session, Tag.KEY_DROPPED, actor, f"key:{runtime.vault.fingerprints[0]}", dropped=unused
        )
    return unused


def remember_ring(runtime: Runtime[OwnSettings]) -> None:
    """Record the keys that a `keystone up` was started with."""
    folder = ensure_private(runtime.settings.run_dir)
    (folder / RING_FILE).write_text("\n".join(runtime.vault.fingerprints), encoding="utf-8")


def _add_key(runtime: Runtime[OwnSettings], actor: Actor) -> None:
    if not runtime.vault.is_kept:
        raise ConfigurationError(*_advice(runtime.vault.fingerprints))
    path = _key_file(runtime)
    key = make_key()
    # Record the key before it is used: if the file is lost later, the next start reports that.
    with runtime.database.writing() as session:
        remember_key(session, fingerprint(key))
        note(session, Tag.KEY_ADDED, actor, f"key:{fingerprint(key)}")
    write_keys(path, [key, *read_keys(path)])


def _advice(ring: list[str]) -> list[str]:
    told = _NEXT_KEY.format(newest=ring[0]) if len(ring) > 1 else _FIRST_STEPS
    return told.strip().splitlines()


def _ensure_known_to_all(runtime: Runtime[OwnSettings]) -> None:
    """Refuse a new key that the running Keystone lacks, since it reads its setting only once."""
    settings, newest = runtime.settings, runtime.vault.fingerprints[0]
    if runtime.vault.is_kept or not is_up(settings.data_dir):
        return
    ring = settings.run_dir / RING_FILE
    if not ring.exists() or newest not in ring.read_text(encoding="utf-8").split():
        raise ConflictError(
            f"the running `keystone up` was started without the key {newest}: "
            "start it again, then run this again"
        )


def _reseal_all(runtime: Runtime[OwnSettings], *, told: Told) -> int:
    resealed = 0
    for _ in range(MOST_PASSES):
        if not _outdated(counts := _counts(runtime), runtime.vault):
            break
        progress = _Progress(told, sum(counts.values()))
        for column in sealed_columns():
            resealed += _reseal(runtime.database, runtime.vault, column, progress)
    return resealed


class _Progress:
    """Counts the checked values and reports the progress."""

    def __init__(self, told: Told, total: int) -> None:
        self._told, self._total, self._done = told, total, 0
        told(0, total)

    def add(self, count: int) -> None:
        self._done += count
        # Rows may have been added since they were counted.
        self._total = max(self._total, self._done)
        self._told(self._done, self._total)


def _reseal(database: Database, vault: Vault, column: Column[bytes], progress: _Progress) -> int:
    resealed, last = 0, 0
    while rows := _batch(database, column, after=last):
        last = rows[-1][0]
        newest = vault.fingerprints[0]
        if changes := [
            (number, sealed, vault.reseal(sealed))
            for number, sealed in rows
            if vault.holder(sealed) not in {None, newest}
        ]:
            resealed += replace_sealed(database, column, changes)
            time.sleep(PAUSE_S)
        progress.add(len(rows))
    return resealed


def _batch(database: Database, column: Column[bytes], *, after: int) -> list[tuple[int, bytes]]:
    key = column.table.c.id
    statement = (
        select(key, column).where(key > after, func.length(column) > 0).order_by(key).limit(BATCH)
    )
    with database.reading() as session:
        return [(number, sealed) for number, sealed in session.execute(statement)]


def _counts(runtime: Runtime[OwnSettings]) -> Counter[str | None]:
    with runtime.database.reading() as session:
        return count_by_key(session, runtime.vault)


def _outdated(counts: Counter[str | None], vault: Vault) -> int:
    return sum(counts[name] for name in vault.fingerprints[1:])


def _key_file(runtime: Runtime[OwnSettings]) -> Path:
    return runtime.settings.data_dir / KEY_FILE


def _unsettled_s(path: Path) -> float:
    """Give the seconds until the file's last change is `SETTLED_AFTER_S` ago."""
    return min(max(path.stat().st_mtime + SETTLED_AFTER_S - time.time(), 0), SETTLED_AFTER_S)


def _alone(settings: Settings) -> AbstractContextManager[None]:
    """Hold the lock that permits one rotation at a time; it is released if the process dies."""
    return only_one(
        ensure_private(settings.run_dir) / LOCK_FILE,
        "another `keystone rotate-key` is under way; let it end",
    )
