"""A new key for everything that is sealed: while others write, and whenever it is killed."""

import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import col, select

from jobs.errors import ConfigurationError, ConflictError
from jobs.processes.rotation import LOCK_FILE, RING_FILE, Rotation, drop_old, remember_ring, rotate
from jobs.processes.runtime import open_runtime
from jobs.processes.supervise import take_over
from jobs.reads.apps import find_app
from jobs.reads.variables import open_variables
from jobs.records.variables import set_variables
from jobs.records.vault_keys import count_by_key, sealed_columns
from jobs.rules.actors import Actor
from jobs.rules.variables import Variable
from jobs.settings import WebSettings
from jobs.states import ActorKind
from jobs.storage.models import AuditEvent, EnvironmentVariable, VaultKey
from jobs.storage.vault import KEY_FILE
from jobs.system.private_folder import ensure_private
from tests.builders import WebRuntime, make_app
from tests.jobs.bench import wait_for

ADA = Actor(ActorKind.CLI, "ada")
VARIABLES = 250
OLD, NEW = "the old key of the setting", "the new key of the setting"
Keystone = WebRuntime


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


def open_at(folder: Path, *keys: str) -> Keystone:
    return open_runtime(WebSettings(data_dir=folder, secret_key=SecretStr(",".join(keys))))


@pytest.fixture
def keystone(tmp_path: Path) -> Iterator[Keystone]:
    """A Keystone whose key is in the data directory, with more secrets than fit one batch."""
    keystone = open_at(tmp_path)
    fill(keystone)
    yield keystone
    keystone.database.close()


def fill(keystone: Keystone) -> None:
    make_app(keystone, token="ghp_sealed_with_the_key")
    values = {f"NAME_{number}": f"value {number}" for number in range(VARIABLES)}
    change(keystone, values)


def change(keystone: Keystone, values: dict[str, str]) -> None:
    wanted = {name: Variable(SecretStr(value)) for name, value in values.items()}
    with keystone.database.writing() as session:
        set_variables(session, find_app(session, "web"), wanted, ADA, vault=keystone.vault)


def opened(keystone: Keystone) -> dict[str, str]:
    with keystone.database.reading() as session:
        found = open_variables(session, find_app(session, "web"), keystone.vault)
    return {name: variable.value.get_secret_value() for name, variable in found.items()}


def counts(keystone: Keystone) -> Counter[str | None]:
    with keystone.database.reading() as session:
        return count_by_key(session, keystone.vault)


def tags(keystone: Keystone) -> list[str]:
    with keystone.database.reading() as session:
        statement = select(AuditEvent.tag).where(col(AuditEvent.target).startswith("key:"))
        return list(session.exec(statement.order_by(col(AuditEvent.id))).all())


def age(keystone: Keystone, seconds: float) -> None:
    """Have the key file be as it is for so long."""
    path = keystone.settings.data_dir / KEY_FILE
    found = path.stat()
    os.utime(path, (found.st_atime, found.st_mtime - seconds))


def test_everything_is_sealed_with_the_new_key_and_opens_as_before(keystone: Keystone) -> None:
    (old,) = keystone.vault.fingerprints
    before, total = opened(keystone), counts(keystone).total()
    told: list[tuple[int, int]] = []
    done = rotate(keystone, ADA, told=lambda *where: told.append(where))
    assert done == Rotation(done.newest, [old], resealed=total, is_new=True, unreadable=0)
    assert counts(keystone) == {done.newest: total}
    assert opened(keystone) == before
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert len(told) > 3
    assert tags(keystone) == ["key.added", "key.rotated"]


def test_every_kind_of_sealed_value_is_known() -> None:
    assert {f"{column.table.name}.{column.name}" for column in sealed_columns()} >= {
        "certificates.sealed",
        "environment_variables.sealed",
        "releases.environment",
        "repository_secrets.sealed",
    }


def test_a_process_that_was_open_before_reads_and_seals_with_the_new_key(
    keystone: Keystone, tmp_path: Path
) -> None:
    other = open_at(tmp_path)
    done = rotate(keystone, ADA, told=quiet)
    assert opened(other)["NAME_7"] == "value 7"
    assert other.vault.holder(other.vault.seal(SecretStr("later"))) == done.newest
    other.database.close()


def test_what_others_write_meanwhile_is_kept(keystone: Keystone, tmp_path: Path) -> None:
    other, over = open_at(tmp_path), threading.Event()
    for each in (keystone, other):  # where the disk is slow, the other one leaves hardly a gap
        each.database._busy_timeout_ms = 60_000
    written: list[int] = []

    def write() -> None:
        while not over.is_set() and len(written) < 150:
            change(other, {f"NAME_{len(written) % VARIABLES}": f"new {len(written)}"})
            written.append(len(written))

    thread = threading.Thread(target=write)

    def wait_for_another(_done: int, _total: int) -> None:
        """Have the other one write between any two batches."""
        before = len(written)
        wait_for(lambda: len(written) > before or not thread.is_alive())

    thread.start()
    done = rotate(keystone, ADA, told=wait_for_another)
    over.set()
    thread.join(60)
    expected = {f"NAME_{number}": f"value {number}" for number in range(VARIABLES)}
    expected |= {f"NAME_{number % VARIABLES}": f"new {number}" for number in written}
    assert written
    assert opened(keystone) == expected
    assert counts(keystone)[done.newest] == counts(keystone).total()
    other.database.close()


def rotate_until_killed(folder: Path, looks: int) -> None:
    """Rotate, and be killed when progress is told of for the so-manyeth time."""
    left = iter(range(looks))

    def told(_done: int, _total: int) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    rotate(open_at(folder), ADA, told=told)


@pytest.mark.parametrize("looks", [0, 1, 3])
def test_a_rotation_killed_at_any_moment_continues_with_the_same_key(
    keystone: Keystone, tmp_path: Path, looks: int
) -> None:
    """0: when the key is in place and nothing is sealed with it; 1, 3: between two batches."""
    total = counts(keystone).total()
    child = multiprocessing.get_context("spawn").Process(
        target=rotate_until_killed, args=(tmp_path, looks)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert opened(keystone)["NAME_7"] == "value 7"
    ring = keystone.vault.fingerprints
    assert len(ring) == 2
    left = counts(keystone)[ring[1]]
    done = rotate(keystone, ADA, told=quiet)
    assert (done.newest, done.resealed, done.is_new) == (ring[0], left, False)
    assert counts(keystone) == {ring[0]: total}


def test_killed_before_the_key_is_in_place_nothing_has_happened(
    keystone: Keystone, tmp_path: Path
) -> None:
    """The new key's name is written down by then, and a draft of the file may be left."""
    with keystone.database.writing() as session:
        session.add(VaultKey(fingerprint="0123abcd"))
    (tmp_path / f".{KEY_FILE}.draft").write_text("half a k")
    again = open_at(tmp_path)
    assert opened(again)["NAME_7"] == "value 7"
    assert rotate(again, ADA, told=quiet).is_new
    again.database.close()


def test_only_one_rotation_runs_at_a_time(keystone: Keystone, tmp_path: Path) -> None:
    with (ensure_private(tmp_path / "run") / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="under way"):
            rotate(keystone, ADA, told=quiet)


def test_a_value_that_nobody_can_open_stays_as_it_is(keystone: Keystone) -> None:
    with keystone.database.writing() as session:
        row = session.exec(select(EnvironmentVariable)).first()
        assert row is not None
        row.sealed = b"damaged"
    assert rotate(keystone, ADA, told=quiet).unreadable == 1


class TestDroppingTheOldKey:
    def test_it_waits_until_nothing_can_be_under_way_with_it(self, keystone: Keystone) -> None:
        (old,) = keystone.vault.fingerprints
        begun = time.time()
        done = rotate(keystone, ADA, told=quiet)
        waited: list[float] = []
        assert drop_old(keystone, ADA, wait=waited.append) == [old]
        # Less by what has passed since, and by the second that a file's time is exact to.
        assert begun + 59 - time.time() < waited[0] <= 60
        assert keystone.vault.fingerprints == [done.newest]
        assert opened(keystone)["NAME_7"] == "value 7"
        assert tags(keystone)[-1] == "key.dropped"

    def test_an_older_rotation_makes_nobody_wait(self, keystone: Keystone) -> None:
        rotate(keystone, ADA, told=quiet)
        age(keystone, 61)
        waited: list[float] = []
        drop_old(keystone, ADA, wait=waited.append)
        assert waited == [0]

    def test_a_start_does_not_ask_for_it_any_more(self, keystone: Keystone, tmp_path: Path) -> None:
        rotate(keystone, ADA, told=quiet)
        drop_old(keystone, ADA, wait=lambda _: None)
        again = open_at(tmp_path)
        assert opened(again)["NAME_7"] == "value 7"
        again.database.close()

    def test_a_key_that_seals_something_stays(self, keystone: Keystone) -> None:
        sealed = keystone.vault.seal(SecretStr("written late"))
        rotate(keystone, ADA, told=quiet)
        with keystone.database.writing() as session:
            row = session.exec(select(EnvironmentVariable)).first()
            assert row is not None
            row.sealed = sealed
        with pytest.raises(ConflictError, match="1 stored secrets are still sealed with"):
            drop_old(keystone, ADA, wait=lambda _: None)
        assert rotate(keystone, ADA, told=quiet).resealed == 1
        assert len(drop_old(keystone, ADA, wait=lambda _: None)) == 1

    def test_a_single_key_is_never_dropped(self, keystone: Keystone) -> None:
        assert drop_old(keystone, ADA) == []


class TestKeysOfTheSetting:
    """What the person set only the person can change; we say how, and seal."""

    def test_one_key_is_told_what_to_do(self, tmp_path: Path) -> None:
        keystone = open_at(tmp_path, OLD)
        with pytest.raises(ConfigurationError, match="KEYSTONE_SECRET_KEY=NEW,OLD") as caught:
            rotate(keystone, ADA, told=quiet)
        assert OLD not in str(caught.value)
        assert not (tmp_path / KEY_FILE).exists()
        keystone.database.close()

    def test_with_both_everything_is_sealed_with_the_first(self, tmp_path: Path) -> None:
        keystone = open_at(tmp_path, OLD)
        fill(keystone)
        keystone.database.close()
        keystone = open_at(tmp_path, NEW, OLD)
        done = rotate(keystone, ADA, told=quiet)
        assert (done.is_new, done.resealed) == (False, counts(keystone).total())
        with pytest.raises(ConfigurationError, match=f"with {done.older[0]} any more: take it out"):
            drop_old(keystone, ADA)
        with pytest.raises(ConfigurationError, match="first key of KEYSTONE_SECRET_KEY"):
            rotate(keystone, ADA, told=quiet)
        keystone.database.close()
        keystone = open_at(tmp_path, NEW)
        assert opened(keystone)["NAME_7"] == "value 7"
        keystone.database.close()

    def test_a_running_keystone_that_lacks_the_new_key_is_not_locked_out(
        self, tmp_path: Path
    ) -> None:
        keystone = open_at(tmp_path, OLD)
        fill(keystone)
        with take_over(tmp_path):
            remember_ring(keystone)
            keystone.database.close()
            keystone = open_at(tmp_path, NEW, OLD)
            with pytest.raises(ConflictError, match="was started without the key"):
                rotate(keystone, ADA, told=quiet)
            remember_ring(keystone)
            assert rotate(keystone, ADA, told=quiet).resealed > VARIABLES
        assert NEW not in (tmp_path / "run" / RING_FILE).read_text()
        keystone.database.close()
