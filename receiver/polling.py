"""Somebody who looks again and again, once for all who wait for news.

Fifty people who follow one log cost one look at it every fifth of a second, not fifty.
"""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import ClassVar, Self

from starlette.concurrency import run_in_threadpool

from jobs.errors import NotFoundError, StorageError

# So many look at their full pace. More of them share it, so that all together cost no more.
AT_FULL_PACE = 20


class Lookout(ABC):
    """Looks, as long as somebody is inside its `async with`; belongs to one event loop.

    Attributes:
        is_gone: there is nothing to look at any more.
    """

    _looking_now: ClassVar[int] = 0

    def __init__(self, *, every_s: float) -> None:
        self._every_s = every_s
        self._watchers, self._version = 0, 0
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._one_look = asyncio.Lock()
        self.is_gone = False

    @abstractmethod
    def look(self) -> bool:
        """Look once, in a thread of its own; gives whether there is news, and gives it once.

        Raises:
            NotFoundError: there is nothing to look at, and never will be.
            StorageError: the database does not answer now.
        """

    async def __aenter__(self) -> Self:
        """Begin to look, unless others wait already."""
        self._watchers += 1
        if self._looking is None or self._looking.done():
            self.is_gone, self._news = False, asyncio.Event()
            self._looking = asyncio.create_task(self._keep_looking())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        """Stop looking when nobody waits any more."""
        self._watchers -= 1
        if self._watchers == 0 and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def look_now(self) -> None:
        """Look at once, for somebody who comes; those who wait already hear of what is new.

        Raises:
            NotFoundError: there is nothing to look at, and never will be.
            StorageError: the database does not answer now.
        """
        if await self._looked():
            self._tell()

    @property
    def is_watched(self) -> bool:
        """Whether anybody waits."""
        return self._watchers > 0

    async def news(self, version: int, *, within_s: float) -> int:
        """Wait until something differs from a version, at most so long; gives the version now."""
        if version == self._version and not self.is_gone:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), within_s)
        return self._version

    async def _keep_looking(self) -> None:
        Lookout._looking_now += 1
        try:
            while not self.is_gone:
                if await self._has_news():
                    self._tell()
                await asyncio.sleep(self._pause_s())
        finally:
            Lookout._looking_now -= 1
            if self.is_watched:  # whatever ended this, nobody shall go on waiting for it
                self.is_gone = True
                self._tell()

    def _pause_s(self) -> float:
        return self._every_s * max(1, Lookout._looking_now / AT_FULL_PACE)

    async def _looked(self) -> bool:
        # Two looks at once would each see what the other is about to remember.
        async with self._one_look:
            return await run_in_threadpool(self.look)

    async def _has_news(self) -> bool:
        try:
            return await self._looked()
        except NotFoundError:
            self.is_gone = True
            return True
        except StorageError:  # it may answer again; pages keep what they have
            return False

    def _tell(self) -> None:
        self._version += 1
        self._news.set()
        self._news = asyncio.Event()
