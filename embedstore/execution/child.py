"""What runs inside a worker process of the pool.

Three threads: the main thread builds the worker and calls `complete`; one reads tasks and calls `prepare`;
one waits for the parent's death. Every step is announced to the parent before it begins, so that after a
crash the parent knows which tasks the process was on. Each of the two working threads has a pipe of its own
for that: if the reading thread had to wait for a large result to pass, and the parent, instead of taking that
result, were sending a large task, all would wait for ever.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import struct
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from embedstore.errors import EmbedstoreError
from embedstore.execution.outcomes import one_line

STOP = b""
Kind = Literal["broken", "preparing", "prepared", "completing", "done", "failed"]
PHASES: tuple[str, ...] = ("queued", "preparing", "prepared", "completing")
_KINDS: tuple[Kind, ...] = ("broken", "preparing", "prepared", "completing", "done", "failed")
_HEADER = struct.Struct("<Bq")
_COUNT = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Event:
    """What a worker process tells its parent.

    "broken": `Work.start` raised, the content is the error. "preparing", "prepared", "completing": the task
    enters a phase, no content. "done": the content is the result. "failed": the content is the reason.
    """

    kind: Kind
    ticket: int
    pickled: bytes | memoryview

    @classmethod
    def parse(cls, message: bytes) -> Event:
        """From the bytes that `_Link.send` wrote."""
        kind, ticket = _HEADER.unpack_from(message)
        return cls(_KINDS[kind], ticket, memoryview(message)[_HEADER.size :])

    def content(self) -> Any:
        """Unpickle the content; it was made by a process of our own. Arrays in it are read-only."""
        (count,) = _COUNT.unpack_from(self.pickled)
        sizes = struct.unpack_from(f"<{count}q", self.pickled, _COUNT.size)
        at, parts = _COUNT.size + 8 * count, []
        for size in sizes:
            parts.append(memoryview(self.pickled)[at : at + size])
            at += size
        return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301


def _packed(content: Any) -> bytes:
    """Pickled, with arrays behind the rest: the one who unpickles them then copies none of their pixels."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    sizes = struct.pack(f"<{len(parts)}q", *map(len, parts))
    return b"".join([_COUNT.pack(len(parts)), sizes, *parts])


_TASK, _WORK = 0, 1


def task_message(ticket: int, pickled: bytes) -> bytes:
    """What the parent sends to hand over a task."""
    return _HEADER.pack(_TASK, ticket) + pickled


def work_message(pickled: bytes) -> bytes:
    """What the parent sends before any task; another one before the first task takes its place."""
    return _HEADER.pack(_WORK, -1) + pickled


class _Link:
    """Sends one thread's events to the parent; when the parent has gone, the process ends at once."""

    def __init__(self, events: Connection) -> None:
        self._events = events

    def send(self, kind: Kind, ticket: int = -1, content: Any = None) -> None:
        pickled = b"" if content is None and kind != "done" else _packed(content)
        try:
            self._events.send_bytes(_HEADER.pack(_KINDS.index(kind), ticket) + pickled)
        except OSError:
            os._exit(1)


def main(pipes: list[int]) -> None:
    """What a fresh interpreter runs; `pipes` are the inherited file descriptors, see `WorkerProcess`."""
    for pipe in pipes:
        os.set_inheritable(pipe, False)
    tasks, parent = (Connection(pipes[at], writable=False) for at in (0, 4))
    prepare_events, complete_events, life = (Connection(pipes[at], readable=False) for at in (1, 2, 3))
    serve(tasks, prepare_events, complete_events, parent)
    life.close()


def serve(
    tasks: Connection, prepare_events: Connection, complete_events: Connection, parent: Connection
) -> None:
    """Build the worker from what comes first and serve tasks until told to stop."""
    # Ctrl-C reaches every process of the terminal; what it means is for the parent to decide. The signal was
    # blocked while this process started and must be ignored before it is let through.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    link = _Link(complete_events)
    try:
        worker, first = _start_work(tasks)
    except BaseException as error:
        link.send("broken", content=_portable(error))
        return
    prepared: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
    ahead = threading.Thread(
        target=_prepare_all, args=(worker, first, tasks, _Link(prepare_events), prepared), daemon=True
    )
    ahead.start()
    while (item := prepared.get()) is not None:
        ticket, ready = item
        del item  # a batch of pixels; the next one is being prepared already
        link.send("completing", ticket)
        try:
            result = worker.complete(ready)
        except BaseException as error:
            link.send("failed", ticket, one_line(error))
        else:
            _send_result(link, ticket, result)
            del result
        del ready


def _start_work(tasks: Connection) -> tuple[Any, bytes]:
    """The worker of the last work that was given, and the first message that is not of a work."""
    worker = None
    while (message := _next_message(tasks)) != STOP and _HEADER.unpack_from(message)[0] == _WORK:
        work = pickle.loads(memoryview(message)[_HEADER.size :])  # noqa: S301 - from our own parent process
        worker = work.start()
    return worker, message


def _prepare_all(
    worker: Any,
    message: bytes,
    tasks: Connection,
    link: _Link,
    prepared: queue.SimpleQueue[tuple[int, Any] | None],
) -> None:
    while message != STOP:
        _, ticket = _HEADER.unpack_from(message)
        link.send("preparing", ticket)
        try:
            ready = worker.prepare(pickle.loads(memoryview(message)[_HEADER.size :]))  # noqa: S301 - from our own parent process
        except BaseException as error:
            link.send("failed", ticket, one_line(error))
        else:
            link.send("prepared", ticket)
            prepared.put((ticket, ready))
            del ready
        message = _next_message(tasks)
    prepared.put(None)


def _next_message(tasks: Connection) -> bytes:
    try:
        return tasks.recv_bytes()
    except (EOFError, OSError):  # closed without STOP: the parent died or gave up
        os._exit(1)


def _send_result(link: _Link, ticket: int, result: Any) -> None:
    try:
        link.send("done", ticket, result)
    except Exception as error:
        link.send("failed", ticket, f"the result cannot be sent between processes ({type(error).__name__})")


def _portable(error: BaseException) -> BaseException:
    """The error itself if it survives a pickle round trip, with where it happened as a note."""
    error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made in this very line
    except Exception:
        copy = None
    if type(copy) is type(error):
        return error
    return EmbedstoreError(f"a worker process could not start: {one_line(error)}")


def _follow(parent: Connection) -> None:
    """End when the parent does: nothing is ever sent through this pipe."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
