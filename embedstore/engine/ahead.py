"""Running a stream ahead of its consumer on a thread: headers are read while vectors are computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
_PATIENCE_S = 0.1


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None = None


def ahead(stream: Iterable[T], size: int) -> Iterator[T]:
    """The elements of `stream` in order, at most `size` of them made in advance by one thread.

    An error of the stream is raised where it would have come. Closing the iterator stops the thread.
    """
    waiting: Queue[T | _End] = Queue(size)
    unwanted = Event()

    def hand_over(one: T | _End) -> bool:
        while not unwanted.is_set():
            try:
                waiting.put(one, timeout=_PATIENCE_S)
            except Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for one in stream:
                if not hand_over(one):
                    return
        except BaseException as error:  # handed to the consumer, whatever it is
            hand_over(_End(error))
        else:
            hand_over(_End())

    thread = Thread(target=run, name="embedstore-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(one := waiting.get(), _End):
            yield one
        if one.error is not None:
            raise one.error
    finally:
        unwanted.set()
        thread.join()
