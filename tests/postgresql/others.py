"""Other processes of the same Keystone, as the database sees them: by connections of their own."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self, TypeVar

from sqlmodel import Session

from jobs.errors import KeystoneError
from jobs.storage.database import Database
from tests.jobs.bench import Bench

MANY = 8
MOST = 20
# Whoever has to wait does so until the test goes on; whoever need not is done by then.
LONG_ENOUGH_S = 0.3
PATIENCE_MS = 60_000

T = TypeVar("T")


@dataclass
class Others:
    """Benches of other processes, which work at the same time."""

    bench: Bench
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(MOST))
    _opened: list[Database] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        for database in self._opened:
            database.close()

    def another(self) -> Bench:
        """Give the bench of another process."""
        database = Database(self.bench.runtime.database.url, busy_timeout_ms=PATIENCE_MS)
        self._opened.append(database)
        return Bench(replace(self.bench.runtime, database=database), self.bench.world)

    def meanwhile(self, write: Callable[[Session], T]) -> "Future[T]":
        """Have another process write in the middle of what this one does."""
        other = self.another()

        def transaction() -> T:
            with other.writing() as session:
                return write(session)

        begun = self._pool.submit(transaction)
        wait([begun], LONG_ENOUGH_S)
        return begun

    def at_once(self, act: Callable[[Bench, int], T], *, times: int = MANY) -> Sequence[T]:
        """Have as many processes do the same at the same time."""
        line = threading.Barrier(times)

        def one(bench: Bench, number: int) -> T:
            line.wait(60)
            return act(bench, number)

        benches = [self.another() for _ in range(times)]
        return list(self._pool.map(one, benches, range(times)))

    def answers(self, act: Callable[[Bench, int], object], *, times: int = MANY) -> Counter[str]:
        """Have as many processes do the same at the same time, and count what they are told."""

        def ask(bench: Bench, number: int) -> str:
            try:
                return str(act(bench, number))
            except KeystoneError as exc:
                return str(exc)

        return Counter(self.at_once(ask, times=times))
