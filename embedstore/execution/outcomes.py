"""What both executors share: one-line reasons for failures, and a careful hand on the tasks' iterator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from embedstore.errors import EmbedstoreError

T = TypeVar("T")

IN_FLIGHT = 3
"""Tasks handed to one worker at a time: one in `complete`, one in `prepare`, one waiting for it."""


def one_line(error: BaseException) -> str:
    """The reason recorded for a task that raised `error`.

    Our own errors are written for a person and carry no patient data, so their message is kept; the message
    of any other error may quote a header value, so only its class is named.
    """
    kind = type(error).__name__
    if not isinstance(error, EmbedstoreError):
        return kind
    message = " ".join(str(error).split())
    return f"{kind}: {message}" if message else kind


class TaskFeed(Generic[T]):
    """Takes tasks one at a time, in the calling thread (they may come from a database session).

    If the iterator itself raises, the feed ends there and keeps the error, so that the outcomes of tasks
    already taken can be handed out before it is raised.
    """

    def __init__(self, tasks: Iterable[T]) -> None:
        self._tasks = iter(tasks)
        self._error: Exception | None = None
        self.ended = False

    def take(self) -> tuple[T] | None:
        """The next task in a tuple (a task may be None itself), or None at the end."""
        if self.ended:
            return None
        try:
            return (next(self._tasks),)
        except StopIteration:
            self.ended = True
        except Exception as error:
            self.ended, self._error = True, error
        return None

    def raise_pending(self) -> None:
        """Raise what the iterator raised, if it did."""
        if self._error is not None:
            raise self._error
