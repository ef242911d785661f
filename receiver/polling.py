"""Polls a source once on behalf of all waiting clients.

Fifty clients that follow one log cost one poll of it every fifth of a second, not fifty.
"""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import ClassVar, Self

from starlette.concurrency import run_in_threadpool

from jobs.errors import NotFoundError, StorageError

# Up to this many lookouts poll at their full rate. More of them slow down, so that the total rate
# does not grow.
AT_FULL_PACE = 20


class Lookout(ABC):
    """Polls while at least one client is inside its `async with`; belongs to one event loop.

    Attributes:
        is_gone: the source does not exist any more, or polling has failed.
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
        """Poll once, in a thread; give whether there is news since the last call.

        Raises:
            NotFoundError: the source does not exist, and never will.
            StorageError: the database does not answer now.
        """

    async def __aenter__(self) -> Self:
        """Start polling, unless it is running for other clients already."""
        self._watchers += 1
        if self._looking is None or self._looking.done():
            self.is_gone, self._news = False, asyncio.Event()
            self._looking = asyncio.create_task(self._keep_looking())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        """Stop polling after the last client has left."""
        self._watchers -= 1
        if self._watchers == 0 and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def look_now(self) -> None:
        """Poll at once for a new client, and tell waiting clients if there is news.

        Raises:
            NotFoundError: the source does not exist, and never will.
            StorageError: the database does not answer now.
        """
        if await self._looked():
            self._tell()

    @property
    def is_watched(self) -> bool:
        """Whether any client is waiting."""
        return self._watchers > 0

    async def news(self, version: int, *, within_s: float) -> int:
        """Wait until the version differs from the given one, or time is up; give the new one."""
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
            if self.is_watched:  # polling ended, for any reason: do not leave clients waiting
                self.is_gone = True
                self._tell()

    def _pause_s(self) -> float:
        return self._every_s * max(1, Lookout._looking_now / AT_FULL_PACE)

    async def _looked(self) -> bool:
        # One poll at a time: concurrent polls would race on the state that they compare with.
        async with self._one_look:
            return await run_in_threadpool(self.look)

    async def _has_news(self) -> bool:
        try:
            return await self._looked()
        except NotFoundError:
            self.is_gone = True
            return True
        except StorageError:  # the database may answer again later; pages keep their content
            return False

    def _tell(self) -> None:
        self._version += 1
        self._news.set()
        self._news = asyncio.Event()
