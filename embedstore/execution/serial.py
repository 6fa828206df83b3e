"""The serial executor: decoding runs ahead on one thread while the caller's thread runs the forward pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from embedstore.contracts.executor import Done, Executor, Failed, Work, Worker
from embedstore.execution.outcomes import IN_FLIGHT, TaskFeed, one_line

T = TypeVar("T")
R = TypeVar("R")


class SerialExecutor:
    """One worker in this process. `complete` and the tasks' iterator run in the thread that iterates."""

    name = "serial"

    def run(self, work: Work[R], tasks: Iterable[T]) -> Iterator[Done[T, R] | Failed[T]]:
        """Outcomes in the order of the tasks; `work.start()` is called at the first step."""
        worker = work.start()
        feed = TaskFeed(tasks)
        ahead: deque[tuple[T, Future[Any]]] = deque()
        thread = ThreadPoolExecutor(1, thread_name_prefix="embedstore-prepare")

        def fill() -> None:
            while len(ahead) < IN_FLIGHT - 1 and (taken := feed.take()) is not None:
                ahead.append((taken[0], thread.submit(worker.prepare, taken[0])))

        try:
            fill()
            while ahead:
                task, prepared = ahead.popleft()
                fill()
                yield _complete(worker, task, prepared)
                fill()
        finally:
            thread.shutdown(wait=True, cancel_futures=True)
        feed.raise_pending()


def _complete(worker: Worker[Any, R], task: T, prepared: Future[Any]) -> Done[T, R] | Failed[T]:
    try:
        return Done(task, worker.complete(prepared.result()))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a decoder may raise SystemExit, or a panic of its Rust half
        return Failed(task, one_line(error))


class SerialFactory:
    """Entry point `serial`."""

    def create(self, workers: int = 1) -> Executor:
        """The serial executor; `workers` is ignored."""
        return SerialExecutor()


factory = SerialFactory()
