"""The work of the executor suite: tasks that say what to do, results that say where they were made."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from embedstore.errors import ReadFailure

Act = Literal[
    "fine",
    "read failure in prepare",
    "secret in prepare",
    "secret in complete",
    "exit in prepare",
    "exit in complete",
    "die in prepare",
    "die in complete",
    "interrupt",
    "unsendable",
]
HEADER_VALUE = "DOE^JANE"


@dataclass(frozen=True, slots=True)
class Call:
    """A task of the suite: what the worker is to do at it. load: bytes that make it as large as asked."""

    number: int
    act: Act = "fine"
    load: bytes = b""


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a task was worked on: process, worker, thread of `prepare` and of `complete`.

    overlapped: whether `prepare` of a later task began while `complete` of this one was running.
    """

    number: int
    process: int
    worker: str
    prepared_on: str
    completed_on: str
    overlapped: bool
    load: bytes = b""


@dataclass(frozen=True, slots=True)
class ContractWork:
    """Work whose results say where they were made. patience_s: how long to wait for an overlap at most.

    start_error: raised by `start`.
    """

    patience_s: float = 10.0
    await_overlap_at: int | None = None
    start_error: Exception | None = None

    def start(self) -> TracingWorker:
        """Build the worker, or raise as told."""
        if self.start_error is not None:
            raise self.start_error
        return TracingWorker(self)


class TracingWorker:
    """Does as each `Call` says."""

    def __init__(self, work: ContractWork) -> None:
        self._work = work
        self._name = uuid4().hex
        self._ahead = threading.Event()
        self._local = threading.local()

    def prepare(self, task: Call) -> tuple[Call, str]:
        """The task and the thread it was prepared on, unless it asks for a failure."""
        if self._work.await_overlap_at is not None and task.number > self._work.await_overlap_at:
            self._ahead.set()
        if task.act == "read failure in prepare":
            raise ReadFailure("truncated\nfile")
        if task.act == "secret in prepare":
            raise ValueError(HEADER_VALUE)
        if task.act == "exit in prepare":
            raise SystemExit(3)
        if task.act == "die in prepare":
            os._exit(3)
        return task, self._thread()

    def complete(self, prepared: tuple[Call, str]) -> Any:
        """A `Trace`, unless the task asks for something worse."""
        task, thread = prepared
        if task.act == "secret in complete":
            raise KeyError(HEADER_VALUE)
        if task.act == "exit in complete":
            raise SystemExit(HEADER_VALUE)
        if task.act == "die in complete":
            os.kill(os.getpid(), signal.SIGKILL)
        if task.act == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        if task.act == "unsendable":
            return lambda: HEADER_VALUE
        overlapped = task.number == self._work.await_overlap_at and self._ahead.wait(self._work.patience_s)
        here = self._thread()
        return Trace(task.number, os.getpid(), self._name, thread, here, overlapped, task.load)

    def _thread(self) -> str:
        """A name for the calling thread; unlike its identifier, never given to a later thread again."""
        if not hasattr(self._local, "name"):
            self._local.name = uuid4().hex
        name: str = self._local.name
        return name
