"""The parent's handle on one worker process: its pipes, and which tasks it holds in which phase."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from embedstore.execution.child import STOP, Event, serve, task_message

_PATIENCE_S = 5.0
_PHASES: tuple[str, ...] = ("queued", "preparing", "prepared", "completing")


class WorkerProcess:
    """A spawned process and the tickets handed to it.

    Spawned, never forked: a fork after torch or FAISS has run a parallel region hangs. `held` maps tickets
    to their phase.
    """

    def __init__(self, work_bytes: bytes) -> None:
        context = get_context("spawn")
        task_end, self._tasks = context.Pipe(duplex=False)
        prepare_events, prepare_end = context.Pipe(duplex=False)
        complete_events, complete_end = context.Pipe(duplex=False)
        self.events = (prepare_events, complete_events)
        self.held: dict[int, str] = {}
        ends = (task_end, prepare_end, complete_end)
        self._process = context.Process(target=serve, args=(work_bytes, *ends), daemon=True)
        try:
            _start_deaf(self._process)
        except BaseException:  # a Ctrl-C may arrive when the process is already there
            if self._process.pid is not None:
                self._process.kill()
                self._process.join()
            self._close_pipes()
            raise
        finally:
            for end in ends:
                end.close()

    @property
    def sentinel(self) -> int:
        """A handle that becomes readable when the process has ended."""
        return self._process.sentinel

    def give(self, ticket: int, task_bytes: bytes) -> None:
        """Hand over a task. A process that has died meanwhile is noticed by its sentinel."""
        self.held[ticket] = "queued"
        try:
            self._tasks.send_bytes(task_message(ticket, task_bytes))
        except OSError:
            return

    def received(self) -> Iterator[Event]:
        """Outcomes that have arrived, without waiting; announcements of phases are noted in `held`."""
        for connection in self.events:
            for event in _arrived(connection):
                if event.kind in ("done", "failed", "broken"):
                    self.held.pop(event.ticket, None)
                    yield event
                elif event.ticket in self.held:
                    # Two pipes: a later phase may be heard of first, or the outcome itself.
                    self.held[event.ticket] = max(self.held[event.ticket], event.kind, key=_PHASES.index)

    def suspects(self) -> list[int]:
        """Tickets whose code may have been running when the process died."""
        return [ticket for ticket, phase in self.held.items() if phase in ("preparing", "completing")]

    def obituary(self) -> str:
        """How the dead process ended, in a few words."""
        self._process.join()
        code = self._process.exitcode or 0
        if code < 0:
            try:
                return f"killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"killed by signal {-code}"
        return f"exit status {code}"

    def dismiss(self) -> None:
        """Ask an idle process to end by itself."""
        try:
            self._tasks.send_bytes(STOP)
        except OSError:
            return

    def end(self, politely: bool) -> None:
        """Wait for a dismissed process, or end it now; afterwards nothing of it is left."""
        if politely:
            self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._close_pipes()
        self._process.close()

    def _close_pipes(self) -> None:
        for connection in (self._tasks, *self.events):
            connection.close()


def _arrived(connection: Connection) -> Iterator[Event]:
    while True:
        try:
            if not connection.poll(0):
                return
            event = Event.parse(connection.recv_bytes())
        except (EOFError, OSError):
            return
        yield event


def _start_deaf(process: Any) -> None:
    """Start a process with SIGINT blocked, so that Ctrl-C cannot hit it before it ignores the signal."""
    # Its first use starts a helper process and unblocks SIGINT on the way; so that has to be over before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
