"""The process pool: N spawned workers, each with its own reader, encoder and prefetch thread.

A worker that dies (a segmentation fault in a decoder, the kernel's out-of-memory killer) takes down one task.
When it was decoding one task while another was in the forward pass, either may be the cause: both are run
again, each alone in a fresh process, and only the one that kills it again has failed.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from threading import Lock
from typing import Generic, TypeVar
from weakref import finalize

from embedstore.contracts.executor import Done, Executor, Failed, LongTask, Work
from embedstore.errors import EmbedstoreError, UsageError
from embedstore.execution.child import Event
from embedstore.execution.outcomes import IN_FLIGHT, TaskFeed
from embedstore.execution.process import WorkerProcess

T = TypeVar("T")
R = TypeVar("R")

_MORE_DEATHS = 2
_FAR_AHEAD = 6
_READING_PATIENCE_S = 10.0
_RUNS_OF_A_READER = 2
_SOONEST_S = 0.05


@dataclass(frozen=True, slots=True)
class _Ticket(Generic[T]):
    """A task on its way. alone: it may be what killed a process, so it gets one to itself."""

    number: int
    task: T
    message: bytes
    alone: bool = False

    def limit_s(self, patience_s: float) -> float:
        """How long it may be prepared."""
        return patience_s + (self.task.allowance_s if isinstance(self.task, LongTask) else 0.0)


class PoolExecutor:
    """`workers` processes by multiprocessing "spawn", started as tasks come; tasks are few in flight."""

    name = "pool"

    def __init__(
        self,
        workers: int,
        in_flight: int = IN_FLIGHT,
        patience_s: float | None = None,
        spares: Spares | None = None,
    ) -> None:
        """in_flight: tasks one worker is given. patience_s: after so long in `prepare` it is killed,
        see `WorkerProcess.preparing_for`; a `LongTask` has longer."""
        self.workers = workers
        self.in_flight = in_flight
        self.patience_s = patience_s
        self.spares = spares

    def run(self, work: Work[R], tasks: Iterable[T]) -> Iterator[Done[T, R] | Failed[T]]:
        """Outcomes as they are finished. Closing the iterator, or an error, ends the processes at once.

        Raises whatever `work.start()` raised in a worker, and EmbedstoreError when workers die over and over
        before they have done anything.
        """
        session: _Session[T, R] = _Session(self, pickle.dumps(work, protocol=5), TaskFeed(tasks))
        finished = False
        try:
            yield from session.outcomes()
            finished = True
        finally:
            session.end(politely=finished)
        session.feed.raise_pending()

    def warm(self, work: Work[R]) -> None:
        """Start processes now for the runs to come, where this pool keeps spares."""
        if self.spares is not None:
            self.spares.warm(pickle.dumps(work, protocol=5))


class Spares:
    """Processes that wait for the runs to come; with the first that is taken there is one for the next.

    Whoever reads files describes them first and decodes them then; starting an interpreter with its libraries
    takes a second, which the forward pass would wait for twice. A spare that nobody took ends with this.
    """

    def __init__(self) -> None:
        self._first = True
        self._waiting: list[WorkerProcess] = []
        self._lock = Lock()
        self._end = finalize(self, _end_all, self._waiting)

    def warm(self, work_bytes: bytes) -> None:
        """Have as many as will be needed; they import their libraries meanwhile."""
        with self._lock:
            while self._first and len(self._waiting) < _RUNS_OF_A_READER:
                self._waiting.append(WorkerProcess(work_bytes))

    def start(self, work_bytes: bytes) -> WorkerProcess:
        """The spare if there is one, else a new process."""
        with self._lock:
            first, self._first = self._first, False
            if self._waiting:
                process = self._waiting.pop()
                process.begin(work_bytes)
            else:
                process = WorkerProcess(work_bytes)
            if first and not self._waiting:
                self._waiting.append(WorkerProcess(work_bytes))
            return process


def _end_all(processes: list[WorkerProcess]) -> None:
    while processes:
        processes.pop().end(politely=False)


class _Session(Generic[T, R]):
    """One run of the pool: which process holds which tickets, and what is to be tried again."""

    def __init__(self, pool: PoolExecutor, work_bytes: bytes, feed: TaskFeed[T]) -> None:
        self.feed = feed
        self._start = WorkerProcess if pool.spares is None else pool.spares.start
        self._size = pool.workers
        self._in_flight = pool.in_flight
        self._patience_s = pool.patience_s
        self._work_bytes = work_bytes
        self._workers: list[WorkerProcess] = []
        self._tickets: dict[int, _Ticket[T]] = {}
        self._again: deque[_Ticket[T]] = deque()
        self._suspected: deque[_Ticket[T]] = deque()
        self._finished: deque[Done[T, R] | Failed[T]] = deque()
        self._issued = 0
        self._deaths_in_vain = 0

    def outcomes(self) -> Iterator[Done[T, R] | Failed[T]]:
        """Every outcome, once."""
        while True:
            self._hand_out()
            while self._finished:
                yield self._finished.popleft()
            if self._tickets:
                self._await_news()
            elif self.feed.ended and not (self._again or self._suspected):
                return

    def end(self, politely: bool) -> None:
        """Stop all processes; politely lets idle ones end by themselves first."""
        if politely:
            for worker in self._workers:
                worker.dismiss()
        for worker in self._workers:
            worker.end(politely)
        self._workers.clear()

    def _hand_out(self) -> None:
        while self._suspected and (worker := self._open_worker(most_held=0)) is not None:
            self._give(worker, self._suspected.popleft())
        while self._has_room() and (ticket := self._next_ticket()) is not None:
            worker = self._open_worker(most_held=self._in_flight - 1)
            assert worker is not None
            self._give(worker, ticket)

    def _has_room(self) -> bool:
        return len(self._workers) < self._size or any(
            self._takes(worker, self._in_flight - 1) for worker in self._workers
        )

    def _takes(self, worker: WorkerProcess, most_held: int) -> bool:
        alone = any(self._tickets[number].alone for number in worker.held)
        return not alone and len(worker.held) <= most_held

    def _open_worker(self, most_held: int) -> WorkerProcess | None:
        """The least busy worker that may be given more; a new process rather than a busy one."""
        takers = [worker for worker in self._workers if self._takes(worker, most_held)]
        best = min(takers, key=lambda worker: len(worker.held), default=None)
        if (best is None or best.held) and len(self._workers) < self._size:
            best = self._start(self._work_bytes)
            self._workers.append(best)
        return best

    def _next_ticket(self) -> _Ticket[T] | None:
        if self._again:
            return self._again.popleft()
        taken = self.feed.take()
        if taken is None:
            return None
        try:
            message = pickle.dumps(taken[0], protocol=5)
        except Exception as error:
            reason = f"the task cannot be sent to another process ({type(error).__name__})"
            self._finished.append(Failed(taken[0], reason))
            return None
        self._issued += 1
        return _Ticket(self._issued, taken[0], message)

    def _give(self, worker: WorkerProcess, ticket: _Ticket[T]) -> None:
        self._tickets[ticket.number] = ticket
        worker.give(ticket.number, ticket.message)

    def _await_news(self) -> None:
        handles = [handle for worker in self._workers for handle in (*worker.events, worker.sentinel)]
        news = set(wait(handles, self._until_a_deadline()))
        for worker in tuple(self._workers):
            dead = worker.sentinel in news  # looked at first: then all that it ever sent has arrived
            for event in worker.received():
                self._note(event)
            if dead:
                self._bury(worker)
            else:
                self._watch(worker)

    def _until_a_deadline(self) -> float | None:
        if self._patience_s is None:
            return None
        left = [
            self._tickets[number].limit_s(self._patience_s) - seconds
            for number, seconds in filter(None, (worker.preparing_for() for worker in self._workers))
        ]
        return max(_SOONEST_S, min(left)) if left else None

    def _watch(self, worker: WorkerProcess) -> None:
        """Kill a worker that hangs; the other tasks it held are run again."""
        preparing = worker.preparing_for()
        if self._patience_s is None or preparing is None:
            return
        number, seconds = preparing
        limit = self._tickets[number].limit_s(self._patience_s)
        if seconds >= limit:
            worker.kill()
            self._bury(worker, number, f"it took more than {limit:.0f} s")

    def _note(self, event: Event) -> None:
        if event.kind == "broken":
            raise event.content()
        task = self._tickets.pop(event.ticket).task
        self._deaths_in_vain = 0
        self._finished.append(_outcome(task, event))

    def _bury(self, worker: WorkerProcess, guilty: int | None = None, why: str = "") -> None:
        """Account for every ticket of a dead process; its replacement is started when there is a task."""
        suspects = worker.suspects() if guilty is None else [guilty]
        how = worker.obituary()
        for number in worker.held:
            ticket = self._tickets.pop(number)
            if [number] == suspects:
                self._finished.append(Failed(ticket.task, why or f"the worker process died ({how})"))
            elif number in suspects or ticket.alone:
                self._suspected.append(replace(ticket, alone=True))
            else:
                self._again.append(ticket)
        self._workers.remove(worker)
        worker.end(politely=False)
        self._deaths_in_vain = 0 if len(suspects) == 1 else self._deaths_in_vain + 1
        if self._deaths_in_vain > self._size + _MORE_DEATHS:
            raise EmbedstoreError(
                f"worker processes keep dying before they have done anything (the last: {how}); "
                "there may be too little memory for this many workers"
            )


def _outcome(task: T, event: Event) -> Done[T, R] | Failed[T]:
    if event.kind == "failed":
        return Failed(task, event.content())
    try:
        return Done(task, event.content())
    except Exception as error:
        return Failed(task, f"the result cannot be read in this process ({type(error).__name__})")


class PoolFactory:
    """Entry point `pool`."""

    def create(self, workers: int) -> Executor:
        """A pool of `workers` processes. Raises UsageError for fewer than one."""
        if workers < 1:
            raise UsageError(f"a pool needs at least one worker, not {workers}")
        return PoolExecutor(workers)


factory = PoolFactory()


class ApartFactory:
    """Entry point `apart`: reading in processes that may be killed, far enough ahead of a slow consumer."""

    def create(self, workers: int = 1) -> Executor:
        """Processes that are given more tasks at a time, and 10 s for each, long tasks longer."""
        return PoolExecutor(max(1, workers), _FAR_AHEAD, _READING_PATIENCE_S, Spares())


apart_factory = ApartFactory()
