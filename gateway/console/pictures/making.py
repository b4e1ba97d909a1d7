"""Pictures are made by one or two children of the console, which give way; thumbnails are kept by digest.

Who waits for a picture holds no thread of the web server: the queue is that of an executor of our own. A
child belongs to the thread that started it, and ends with it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import structlog

from gateway.bootstrap import Shell
from gateway.errors import DecodeError, NoTime
from gateway.process import priority
from gateway.sandbox.renderer import Renderer, Tags, Values
from gateway.store.thumbs import Thumbs
from pipelines.film import REASON_TEXT

log = structlog.get_logger()

T = TypeVar("T")

CHILDREN = 2
MOST_WAITING = 256  # pictures; a sheet has 60, and whoever asks for more is told to come again
NICENESS = 5  # below the listener, above a worker: a person waits for it
ATTEMPT_S = 10.0  # of one picture, twice; a person looks at the place where it will be
WAIT_S = 20.0  # how long others may keep a child from the processor before a person is told
REMEMBERED = 4096  # objects without a picture, so that a child need not die of each one again


class NoPicture(Exception):
    """Raised when there is nothing to show; the text says why. `lasting`: it will be the same next time."""

    def __init__(self, words: str, *, lasting: bool) -> None:
        super().__init__(words)
        self.lasting = lasting


class Pictures:
    """Pictures of what lies in the store."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._thumbs = Thumbs(shell.settings.state)
        self._local = threading.local()
        self._renderers: list[Renderer] = []
        self._executor = ThreadPoolExecutor(CHILDREN, "pictures", initializer=self._begin)
        self._underway: dict[tuple[str, str], asyncio.Future[Any]] = {}
        self._without: OrderedDict[tuple[str, str], str] = OrderedDict()

    def close(self) -> None:
        """End the children; what waits is given up."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for renderer in self._renderers:
            renderer.close()

    def kept_thumb(self, digest: str) -> bytes | None:
        """The thumbnail that was made before, if any."""
        return self._thumbs.get(digest)

    async def thumb(self, digest: str) -> bytes:
        """A JPEG. Raises NoPicture."""
        return await self._made("thumb", digest, partial(self._new_thumb, digest))

    async def values(self, digest: str) -> Values:
        """The values for windowing in the browser. Raises NoPicture."""
        return await self._made("values", digest, partial(self._new_values, digest))

    async def picture(self, digest: str) -> bytes:
        """A PNG of a picture that we made. Raises NoPicture."""
        return await self._made("picture", digest, partial(self._new_picture, digest))

    async def tags(self, digest: str, *, revealed: bool) -> Tags:
        """What its header says. Raises NoPicture."""
        kind = "tags, revealed" if revealed else "tags"
        return await self._made(kind, digest, partial(self._new_tags, digest, revealed))

    # Several who want the same picture wait for one

    async def _made(self, kind: str, digest: str, make: Callable[[], T]) -> T:
        key = (kind, digest)
        if (known := self._without.get(key)) is not None:
            raise NoPicture(known, lasting=True)  # a new one: each raise of the same adds to its traceback
        if key not in self._underway:
            if len(self._underway) >= MOST_WAITING:
                raise NoPicture("Too many pictures are being made. It comes in a moment.", lasting=False)
            made = asyncio.get_running_loop().run_in_executor(self._executor, self._tried, key, make)
            made.add_done_callback(partial(self._done, key))
            self._underway[key] = made
        picture: T = await asyncio.shield(self._underway[key])
        return picture

    def _done(self, key: tuple[str, str], future: asyncio.Future[Any]) -> None:
        self._underway.pop(key, None)
        if not future.cancelled():
            future.exception()  # looked at, also when nobody waits any more

    # In the threads of the executor

    def _begin(self) -> None:
        priority.give_way(NICENESS)
        work = self._shell.settings.work
        renderer = Renderer(min(work.decode_timeout_s, ATTEMPT_S), work.decode_memory_mb, wait_s=WAIT_S)
        self._local.renderer = renderer
        self._renderers.append(renderer)

    def _tried(self, key: tuple[str, str], make: Callable[[], T]) -> T:
        try:
            return make()
        except DecodeError as error:
            words = REASON_TEXT[error.reason]
            log.info("no picture", reason=error.reason.value)
            why = f"{words[0].upper()}{words[1:]}."
            self._without[key] = why
            while len(self._without) > REMEMBERED:
                self._without.popitem(last=False)
            raise NoPicture(why, lasting=True) from error
        except NoTime as error:
            raise NoPicture("The machine is busy with films. Reload to try again.", lasting=False) from error
        except OSError as error:
            words = "The file is not in the store. Run filmgate fsck."
            raise NoPicture(words, lasting=False) from error

    def _new_thumb(self, digest: str) -> bytes:
        if (kept := self._thumbs.get(digest)) is not None:  # the worker, or somebody else, was quicker
            return kept
        jpeg: bytes = self._local.renderer.thumb(self._shell.store.path(digest))
        self._thumbs.put(digest, jpeg)
        return jpeg

    def _new_values(self, digest: str) -> Values:
        values: Values = self._local.renderer.values(self._shell.store.path(digest))
        return values

    def _new_picture(self, digest: str) -> bytes:
        png: bytes = self._local.renderer.picture(self._shell.store.path(digest))
        return png

    def _new_tags(self, digest: str, revealed: bool) -> Tags:
        tags: Tags = self._local.renderer.tags(self._shell.store.path(digest), revealed=revealed)
        return tags
