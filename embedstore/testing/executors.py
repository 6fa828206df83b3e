"""The contract suite for executors.

Subclass in a test module, name the factory, and pytest collects the checks:

    class TestMyExecutor(ExecutorContract):
        factory = my_package.factory
        separate_processes = True

Each check is a plain method that asserts, so it can be called without pytest as well.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from embedstore.contracts.executor import Done, Executor, ExecutorFactory, Failed
from embedstore.errors import Refused
from embedstore.testing.executor_work import HEADER_VALUE, Act, Call, ContractWork, Trace

__all__ = ["Call", "ContractWork", "ExecutorContract", "Trace"]

_MANY = 1000
_LOAD = 1 << 20


class _Supply:
    """Endless tasks that know how many were taken, and object when that runs far ahead of the outcomes."""

    def __init__(self, most_ahead: int) -> None:
        self.taken = 0
        self.answered = 0
        self._most_ahead = most_ahead

    def __iter__(self) -> Iterator[Call]:
        while True:
            self.taken += 1
            if self.taken - self.answered > self._most_ahead:
                raise AssertionError(f"{self.taken - self.answered} tasks were taken ahead of their outcomes")
            yield Call(self.taken)


class ExecutorContract:
    """What every executor promises. factory: the one under test.

    separate_processes: workers are processes of their own, so that a dying one must not matter and results
    must be sendable. workers: how many are asked for. most_ahead_per_worker: how many tasks may be taken
    before their outcomes are out.
    """

    factory: ClassVar[ExecutorFactory]
    separate_processes: ClassVar[bool] = False
    workers: ClassVar[int] = 2
    most_ahead_per_worker: ClassVar[int] = 8
    patience_s: ClassVar[float] = 10.0

    @classmethod
    def checks(cls) -> dict[str, Callable[[ExecutorContract], None]]:
        """The checks by name."""
        return {name: getattr(cls, name) for name in dir(cls) if name.startswith("test_")}

    def _executor(self) -> Executor:
        return self.factory.create(self.workers)

    def _run(self, calls: list[Call]) -> tuple[dict[int, Trace], dict[int, str]]:
        """Traces of the tasks that were done and reasons of those that failed; each exactly once."""
        outcomes = list(self._executor().run(ContractWork(), calls))
        answered = sorted(outcome.task.number for outcome in outcomes)
        assert answered == sorted(call.number for call in calls), "each task has exactly one outcome"
        done = {o.task.number: o.result for o in outcomes if isinstance(o, Done)}
        failed = {o.task.number: o.reason for o in outcomes if isinstance(o, Failed)}
        for reason in failed.values():
            assert reason, "a failure says why"
            assert "\n" not in reason, "a reason is one line"
            assert HEADER_VALUE not in reason, "the message of a foreign error may hold patient data"
        return done, failed

    def test_is_an_executor(self) -> None:
        """It has a name and a `run`."""
        executor = self._executor()
        assert isinstance(executor, Executor)
        assert executor.name

    def test_answers_every_task_with_its_own_result(self) -> None:
        """No task is dropped, doubled or given another's result."""
        done, failed = self._run([Call(n) for n in range(40)])
        assert not failed
        assert all(trace.number == number for number, trace in done.items())

    def test_no_tasks_give_no_outcomes(self) -> None:
        """An empty iterable ends at once."""
        assert self._run([]) == ({}, {})

    def test_can_run_again(self) -> None:
        """One executor serves several runs."""
        executor = self._executor()
        for _ in range(2):
            assert len(list(executor.run(ContractWork(), [Call(0)]))) == 1

    def test_one_failure_is_one_outcome(self) -> None:
        """A task that raises in either half has failed; all others are done."""
        acts: tuple[Act, ...] = (
            "read failure in prepare",
            "secret in prepare",
            "secret in complete",
            "exit in prepare",
            "exit in complete",
        )
        calls = [Call(n, acts[n // 3] if n % 3 == 1 else "fine") for n in range(15)]
        done, failed = self._run(calls)
        assert set(failed) == {call.number for call in calls if call.act != "fine"}
        assert len(done) + len(failed) == 15

    def test_reasons_name_our_errors_and_hide_the_messages_of_others(self) -> None:
        """A ReadFailure keeps its message, on one line; a ValueError only its class."""
        _, failed = self._run([Call(0, "read failure in prepare"), Call(1, "secret in prepare")])
        assert "ReadFailure" in failed[0]
        assert "truncated file" in failed[0]
        assert failed[1] == "ValueError"

    def test_completes_on_one_thread_and_prepares_on_another(self) -> None:
        """In each process there is one worker, and its `complete` never changes threads."""
        done, _ = self._run([Call(n) for n in range(30)])
        for process in {trace.process for trace in done.values()}:
            mine = [trace for trace in done.values() if trace.process == process]
            assert len({trace.worker for trace in mine}) == 1, "start is called once in each process"
            assert len({trace.completed_on for trace in mine}) == 1
            assert {t.prepared_on for t in mine}.isdisjoint({t.completed_on for t in mine})

    def test_prepares_the_next_task_during_the_forward_pass(self) -> None:
        """`complete` of task 0 waits, and sees `prepare` of another begin."""
        work = ContractWork(self.patience_s, await_overlap_at=0)
        outcomes = list(self.factory.create(1).run(work, [Call(n) for n in range(4)]))
        first = next(o for o in outcomes if o.task.number == 0)
        assert isinstance(first, Done)
        assert first.result.overlapped

    def test_takes_only_a_few_tasks_ahead(self) -> None:
        """Endless tasks are no trouble: outcomes come, and few tasks are in flight."""
        supply = _Supply(self.workers * self.most_ahead_per_worker)
        run = self._executor().run(ContractWork(), supply)
        for _ in range(40):
            assert isinstance(next(run), Done)
            supply.answered += 1
        _close(run)

    def test_nothing_happens_before_the_first_step(self) -> None:
        """`run` alone takes no task."""
        supply = _Supply(self.workers * self.most_ahead_per_worker)
        run = self._executor().run(ContractWork(), supply)
        assert supply.taken == 0
        _close(run)

    def test_closing_leaves_nothing_behind(self) -> None:
        """After `close` no worker process and no thread of the run is alive."""
        before = set(threading.enumerate())
        supply = _Supply(self.workers * self.most_ahead_per_worker)
        run = self._executor().run(ContractWork(), supply)
        seen: list[Any] = []
        for _ in range(6):
            seen.append(next(run))
            supply.answered += 1
        _close(run)
        self._assert_gone(seen, before)

    def test_interrupt_leaves_nothing_behind(self) -> None:
        """KeyboardInterrupt passes through and nothing goes on behind it."""
        before = set(threading.enumerate())
        seen: list[Any] = []

        def tasks() -> Iterator[Call]:
            for n in range(_MANY):
                yield Call(n)
                if seen:  # only now is there a process whose end can be looked for
                    raise KeyboardInterrupt

        try:
            seen.extend(self._executor().run(ContractWork(), tasks()))  # keeps what came before
        except KeyboardInterrupt:
            self._assert_gone(seen, before)
        else:
            raise AssertionError("KeyboardInterrupt was swallowed")

    def test_an_error_of_the_tasks_comes_after_their_outcomes(self) -> None:
        """If the iterable raises, the tasks taken before are answered and then the error is raised."""
        seen: list[Any] = []

        def tasks() -> Iterator[Call]:
            yield from (Call(n) for n in range(5))
            raise LookupError("no more")

        try:
            seen.extend(o.task.number for o in self._executor().run(ContractWork(), tasks()))
        except LookupError:
            assert sorted(seen) == list(range(5))
        else:
            raise AssertionError("the error of the iterable was swallowed")

    def test_an_error_of_start_is_raised_as_it_is(self) -> None:
        """The caller sees the class and the message."""
        for error in (Refused("not RETFound: 3 keys missing"), OSError("no such device")):
            try:
                list(self._executor().run(ContractWork(start_error=error), [Call(0)]))
            except (Refused, OSError) as raised:
                assert type(raised) is type(error)  # noqa: PT017 - usable without pytest
                assert str(raised) == str(error)  # noqa: PT017
            else:
                raise AssertionError("an error of start was swallowed")

    def test_large_tasks_and_results_pass(self) -> None:
        """A megabyte in, a megabyte out, many times: no deadlock between the two directions."""
        load = os.urandom(_LOAD)
        done, failed = self._run([Call(n, load=load) for n in range(12)])
        assert not failed
        assert all(trace.load == load for trace in done.values())

    def test_a_dying_worker_fails_only_its_task(self) -> None:
        """Processes that exit or are killed at three tasks of 24: those fail, the others are done."""
        if not self.separate_processes:
            return
        fatal: dict[int, Act] = {3: "die in prepare", 4: "die in complete", 17: "die in complete"}
        done, failed = self._run([Call(n, fatal.get(n, "fine")) for n in range(24)])
        assert set(failed) == set(fatal)
        assert set(done) == set(range(24)) - set(fatal)

    def test_workers_leave_interrupts_to_the_parent(self) -> None:
        """SIGINT in a worker (Ctrl-C reaches the whole terminal) changes nothing."""
        if not self.separate_processes:
            return
        _, failed = self._run([Call(n, "interrupt") for n in range(4)])
        assert not failed

    def test_an_unsendable_result_is_one_failure(self) -> None:
        """A result that cannot cross processes fails its task alone."""
        if not self.separate_processes:
            return
        done, failed = self._run([Call(0), Call(1, "unsendable"), Call(2)])
        assert set(failed) == {1}
        assert set(done) == {0, 2}

    def _assert_gone(self, outcomes: list[Any], before: set[threading.Thread]) -> None:
        others = {o.result.process for o in outcomes if isinstance(o, Done)} - {os.getpid()}
        if self.separate_processes:
            assert others, "an executor of separate processes works in processes other than the caller's"
        for process in others:
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                continue
            raise AssertionError("a worker process is still there")
        assert set(threading.enumerate()) <= before, "a thread of the run is still there"


def _close(run: Iterator[Any]) -> None:
    close = getattr(run, "close", None)
    assert close is not None, "run returns a generator, so that it can be closed"
    close()
