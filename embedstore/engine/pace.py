"""How fast an ingest goes, how much is left of it, and what it waits for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from embedstore.errors import EmbedstoreError
from embedstore.readers.walk import walk
from embedstore.settings import Limits

_WINDOW_S = 10.0
_SHORTEST_S = 1e-3
_WAITING = 0.1  # of the time; a forward pass that is what bounds an ingest waits for next to nothing


class SourceCount:
    """Counts the sources under paths on a thread of its own, while they are being read."""

    def __init__(self, paths: Sequence[Path], limits: Limits) -> None:
        self._found: int | None = None
        self._unwanted = Event()
        self._thread = Thread(target=self._count, args=(paths, limits), name="embedstore-count", daemon=True)
        self._thread.start()

    @property
    def found(self) -> int | None:
        """All of them; None while they are being counted."""
        return self._found

    def stop(self) -> None:
        """Count no further; returns when the thread has ended."""
        self._unwanted.set()
        self._thread.join()

    def _count(self, paths: Sequence[Path], limits: Limits) -> None:
        number = 0
        try:
            for _ in walk(paths, limits):
                number += 1
                if self._unwanted.is_set():
                    return
        except (EmbedstoreError, OSError):  # whoever reads them meets it too, and tells
            return
        self._found = number


class Pace:
    """Of one ingest. count: None when nobody asks how much is left."""

    def __init__(self, count: SourceCount | None = None) -> None:
        self._count = count
        self._sources = self._items = 0
        self._waited = 0.0
        self._embedding: list[float] = []  # when the first image was at hand, when the last was embedded
        self._aside = self._lately_aside = 0.0
        self._windows = [(time.monotonic() - _SHORTEST_S, 0, 0.0)]  # when, images and seconds waited by then

    def meet(self, items: int) -> None:
        """One source, with so many items."""
        self._sources += 1
        self._items += max(items, 1)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While the forward pass has nothing to do."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - began

    def begin(self) -> None:
        """An image is at hand that is to be embedded."""
        self._embedding = self._embedding or [time.monotonic()] * 2

    def reach(self) -> None:
        """Images were embedded."""
        self._embedding[1:] = [time.monotonic()]
        self._aside, self._lately_aside = self._aside + self._lately_aside, 0.0

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While something else than images is embedded."""
        began = time.monotonic()
        try:
            yield
        finally:
            if self._embedding:
                self._lately_aside += time.monotonic() - began

    def per_second(self, images: int) -> float:
        """Images a second while there were some to embed: what was skipped before or after takes no part."""
        if not images:
            return 0.0
        first, last = self._embedding
        return round(images / max(last - first - self._aside, _SHORTEST_S), 2)

    def total(self) -> int | None:
        """Items in all: those met, and as many a source for the sources to come. None while not known."""
        found = self._count.found if self._count is not None else None
        if not found or not self._sources:
            return None
        return round(self._items * max(1.0, found / self._sources))

    def remark(self, images: int) -> str:
        """Images a second of the last ten to twenty seconds, what bounds it. images: embedded so far."""
        now = time.monotonic()
        if now - self._windows[-1][0] >= _WINDOW_S:
            self._windows = [self._windows[-1], (now, images, self._waited)]
        since, before, waited = self._windows[0]
        rate = f"{(images - before) / (now - since):.1f} images/s"
        if not self._waited:  # where other processes compute, nobody here knows
            return rate
        decoding = (self._waited - waited) / (now - since) > _WAITING
        return f"{rate}, bound by {'decoding' if decoding else 'the forward pass'}"
