"""The parent's handle on one worker process: its pipes, and which tasks it holds in which phase."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from embedstore.execution.child import PHASES, STOP, Event, task_message, work_message

_PATIENCE_S = 5.0
_PIPE_BYTES = 1 << 20
# On a busy machine, or while a network drive is slow, seconds pass in which a process does nothing wrong.
_IDLE_SECONDS_FOR_ONE = 6
# The child's import path is the parent's own, given before anything is imported by it.
_BOOT = """
import json, sys
given = json.loads(sys.argv[1])
sys.path[:] = given["path"]
from embedstore.execution.child import main
main(given["pipes"])
"""


@dataclass(frozen=True, slots=True)
class _Moment:
    """clock_s: `time.monotonic`. computed_s: processor seconds of a process by then."""

    clock_s: float
    computed_s: float


class WorkerProcess:
    """A fresh interpreter and the tickets handed to it.

    Never forked: a fork after torch or FAISS has run a parallel region hangs. Not multiprocessing's "spawn"
    either: that runs the user's main script again, which is an endless loop for a script without a guard.
    """

    def __init__(self, work_bytes: bytes) -> None:
        task_end, self._tasks = Pipe(duplex=False)
        prepare_events, prepare_end = Pipe(duplex=False)
        complete_events, complete_end = Pipe(duplex=False)
        # Nobody writes into these two: one ends with the child, the other with the parent.
        self.sentinel, child_end = Pipe(duplex=False)
        parent_end, self._alive = Pipe(duplex=False)
        self.events = (prepare_events, complete_events)
        self._phases: dict[int, tuple[str, _Moment]] = {}
        ends = (task_end, prepare_end, complete_end, child_end, parent_end)
        _widen(complete_end)
        try:
            self._process = _start_deaf(ends)
        except BaseException:
            self._close_pipes()
            raise
        finally:
            for end in ends:
                end.close()
        self.begin(work_bytes)

    def begin(self, work_bytes: bytes) -> None:
        """Hand over the work. A process that was started for another, and has no task yet, takes this one."""
        with suppress(OSError):  # it has died already: its sentinel tells
            self._tasks.send_bytes(work_message(work_bytes))

    @property
    def held(self) -> tuple[int, ...]:
        """Tickets of the tasks that have no outcome yet."""
        return tuple(self._phases)

    def give(self, ticket: int, task_bytes: bytes) -> None:
        """Hand over a task. A process that has died meanwhile is noticed by its sentinel."""
        self._phases[ticket] = ("queued", self._now())
        with suppress(OSError):
            self._tasks.send_bytes(task_message(ticket, task_bytes))

    def received(self) -> Iterator[Event]:
        """Outcomes that have arrived, without waiting; announcements of phases are noted."""
        for connection in self.events:
            for event in _arrived(connection):
                if event.kind in ("done", "failed", "broken"):
                    self._phases.pop(event.ticket, None)
                    yield event
                elif event.ticket in self._phases:
                    # Two pipes: a later phase may be heard of first, or the outcome itself.
                    phase, since = self._phases[event.ticket]
                    if PHASES.index(event.kind) > PHASES.index(phase):
                        phase, since = event.kind, self._now()
                    self._phases[event.ticket] = (phase, since)

    def suspects(self) -> list[int]:
        """Tickets whose code may be running, or was when the process died."""
        return [ticket for ticket, (phase, _) in self._phases.items() if phase in ("preparing", "completing")]

    def preparing_for(self) -> tuple[int, float] | None:
        """The ticket that is being prepared, and for how many seconds as far as is known.

        Seconds of the process's own computing; where it computes less (it waits for a disk, or for its turn
        on a busy machine, or this system does not tell) six seconds of the clock count as one.
        """
        now = self._now()
        for ticket, (phase, since) in self._phases.items():
            if phase == "preparing":
                waited = (now.clock_s - since.clock_s) / _IDLE_SECONDS_FOR_ONE
                return ticket, max(now.computed_s - since.computed_s, waited)
        return None

    def _now(self) -> _Moment:
        return _Moment(time.monotonic(), _computed_s(self._process.pid))

    def kill(self) -> None:
        """End it whatever it is at; its sentinel then tells."""
        self._process.kill()

    def obituary(self) -> str:
        """How the dead process ended, in a few words."""
        code = self._process.wait()
        if code < 0:
            try:
                return f"killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"killed by signal {-code}"
        return f"exit status {code}"

    def dismiss(self) -> None:
        """Ask an idle process to end by itself."""
        with suppress(OSError):
            self._tasks.send_bytes(STOP)

    def end(self, politely: bool) -> None:
        """Wait for a dismissed process, or end it now; afterwards nothing of it is left."""
        for ask in (None, self._process.terminate, self._process.kill):
            if ask is not None:
                ask()
            elif not politely:
                continue
            try:
                self._process.wait(None if ask == self._process.kill else _PATIENCE_S)
                break
            except subprocess.TimeoutExpired:
                continue
        self._close_pipes()

    def _close_pipes(self) -> None:
        for connection in (self._tasks, self._alive, self.sentinel, *self.events):
            connection.close()


def _computed_s(pid: int) -> float:
    """User and system seconds of a process (proc(5), fields 14 and 15 of stat), 0 where nobody tells."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0


def _arrived(connection: Connection) -> Iterator[Event]:
    while True:
        try:
            if not connection.poll(0):
                return
            event = Event.parse(connection.recv_bytes())
        except (EOFError, OSError):
            return
        yield event


def _widen(pipe: Connection) -> None:
    """Let a batch of pixels through in few steps: each one wakes both processes. Only Linux can."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # beyond what this system allows to a user
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _start_deaf(ends: tuple[Connection, ...]) -> subprocess.Popen[bytes]:
    """Start the process with SIGINT blocked, so that Ctrl-C cannot hit it before it ignores the signal."""
    pipes = [end.fileno() for end in ends]
    given = json.dumps({"path": sys.path, "pipes": pipes})
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        # -P: a numpy.py that lies in the user's folder must not be taken for the library.
        return subprocess.Popen(  # noqa: S603 - our own interpreter and our own words
            [sys.executable, "-P", "-c", _BOOT, given],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the parent's may be a JSON document
            pass_fds=pipes,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
