"""Many searches together, or one update alone: FAISS lets threads read an index but not while it changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Gate:
    """A readers-writer lock; a waiting update goes before searches that come after it."""

    def __init__(self) -> None:
        self._turn = Condition()
        self._searching = 0
        self._waiting = 0
        self._updating = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """Hold while searching."""
        with self._turn:
            self._turn.wait_for(lambda: not self._updating and not self._waiting)
            self._searching += 1
        try:
            yield
        finally:
            with self._turn:
                self._searching -= 1
                self._turn.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold while updating."""
        with self._turn:
            self._waiting += 1
            try:
                self._turn.wait_for(lambda: not self._updating and not self._searching)
            finally:
                self._waiting -= 1
            self._updating = True
        try:
            yield
        finally:
            with self._turn:
                self._updating = False
                self._turn.notify_all()
