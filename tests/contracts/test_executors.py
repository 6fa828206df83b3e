"""Serial and pool keep the executor contract, and the contract catches executors that do not."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from embedstore.contracts.executor import Done, Failed, WarmExecutor
from embedstore.discovery import EXECUTORS, find_plugin
from embedstore.errors import EmbedstoreError, UsageError
from embedstore.execution import pool, serial
from embedstore.execution.outcomes import one_line
from embedstore.testing.executors import Call, ContractWork, ExecutorContract


class TestSerial(ExecutorContract):
    factory = serial.factory


class TestPool(ExecutorContract):
    factory = pool.factory
    separate_processes = True


class TestApart(ExecutorContract):
    factory = pool.apart_factory
    separate_processes = True
    most_ahead_per_worker = 32


def test_a_spare_process_does_the_work_of_the_next_run_and_not_its_first():
    executor = pool.apart_factory.create(1)
    for offset in (1, 10, 100):
        outcomes = list(executor.run(Adding(offset), [1, 2, 3]))
        assert sorted(done.result for done in outcomes) == [offset + 1, offset + 2, offset + 3]


def test_processes_that_were_warmed_take_the_work_of_each_run():
    executor = pool.apart_factory.create(1)
    assert isinstance(executor, WarmExecutor)
    executor.warm(Adding(1000))
    for offset in (1, 10, 100):
        outcomes = list(executor.run(Adding(offset), [1, 2, 3]))
        assert sorted(done.result for done in outcomes) == [offset + 1, offset + 2, offset + 3]


def test_both_are_found_by_entry_point():
    assert find_plugin(EXECUTORS, "serial").load() is serial.factory
    assert find_plugin(EXECUTORS, "pool").load() is pool.factory


def test_a_pool_needs_a_worker():
    with pytest.raises(UsageError, match="at least one worker"):
        pool.factory.create(0)


# Deliberately broken executors

Run = Callable[[Any, Iterable[Any]], Iterator[Any]]


def _outcome(worker: Any, task: Any, prepared: Any) -> Any:
    try:
        return Done(task, worker.complete(prepared.result()))
    except BaseException as error:
        return Failed(task, one_line(error))


@dataclass(frozen=True)
class Adding:
    """Work that adds a number, so that a result tells whose work it is."""

    offset: int

    def start(self) -> Adding:
        return self

    def prepare(self, task: int) -> int:
        return task

    def complete(self, prepared: int) -> int:
        return prepared + self.offset


def _honest(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    yield from serial.factory.create(1).run(work, tasks)


def drops_the_last(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    held = None
    for outcome in _honest(work, tasks):
        if held is not None:
            yield held
        held = outcome


def doubles(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    for outcome in _honest(work, tasks):
        yield outcome
        yield outcome


def swaps_results(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    outcomes = [o for o in _honest(work, tasks) if isinstance(o, Done)]
    yield from (Done(a.task, b.result) for a, b in zip(outcomes, reversed(outcomes), strict=True))


def stops_at_the_first_failure(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    for outcome in _honest(work, tasks):
        yield outcome
        if isinstance(outcome, Failed):
            return


def raises_at_the_first_failure(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    worker = work.start()
    for task in tasks:
        yield Done(task, worker.complete(worker.prepare(task)))


def is_eager(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    yield from _honest(work, list(tasks))


def starts_at_once(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    iterator = iter(tasks)
    first = next(iterator, None)

    def rest() -> Iterator[Any]:
        if first is not None:
            yield first
            yield from iterator

    return _honest(work, rest())


def completes_on_many_threads(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    worker = work.start()
    for task in tasks:
        with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
            yield other.submit(_outcome, worker, task, one.submit(worker.prepare, task)).result()


def starts_for_each_task(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    for task in tasks:
        yield from _honest(work, [task])


def does_not_prefetch(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    worker = work.start()
    with ThreadPoolExecutor(1) as thread:
        for task in tasks:
            prepared = thread.submit(worker.prepare, task)
            yield _outcome(worker, task, prepared)


def tells_everything(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    worker = work.start()
    with ThreadPoolExecutor(1) as thread:
        for task in tasks:
            try:
                yield Done(task, worker.complete(thread.submit(worker.prepare, task).result()))
            except BaseException as error:
                yield Failed(task, repr(error))


def says_nothing(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    for outcome in _honest(work, tasks):
        yield Failed(outcome.task, "") if isinstance(outcome, Failed) else outcome


def swallows_errors_of_tasks(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    def guarded() -> Iterator[Any]:
        try:
            yield from tasks
        except BaseException:
            return

    yield from _honest(work, guarded())


def wraps_errors_of_start(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    try:
        yield from _honest(work, tasks)
    except Exception as error:
        raise RuntimeError("worker failed") from error


_LEAKED: list[ThreadPoolExecutor] = []


def leaves_a_thread(work: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    thread = ThreadPoolExecutor(1)
    _LEAKED.append(thread)
    thread.submit(int)
    yield from _honest(work, tasks)


BROKEN: dict[Run, set[str]] = {
    drops_the_last: {"test_answers_every_task_with_its_own_result"},
    doubles: {"test_answers_every_task_with_its_own_result"},
    swaps_results: {"test_answers_every_task_with_its_own_result"},
    stops_at_the_first_failure: {"test_one_failure_is_one_outcome"},
    raises_at_the_first_failure: {"test_one_failure_is_one_outcome"},
    is_eager: {"test_takes_only_a_few_tasks_ahead"},
    starts_at_once: {"test_nothing_happens_before_the_first_step"},
    completes_on_many_threads: {"test_completes_on_one_thread_and_prepares_on_another"},
    starts_for_each_task: {"test_completes_on_one_thread_and_prepares_on_another"},
    does_not_prefetch: {"test_prepares_the_next_task_during_the_forward_pass"},
    tells_everything: {"test_reasons_name_our_errors_and_hide_the_messages_of_others"},
    says_nothing: {"test_one_failure_is_one_outcome"},
    swallows_errors_of_tasks: {
        "test_interrupt_leaves_nothing_behind",
        "test_an_error_of_the_tasks_comes_after_their_outcomes",
    },
    wraps_errors_of_start: {"test_an_error_of_start_is_raised_as_it_is"},
    leaves_a_thread: {"test_closing_leaves_nothing_behind"},
}


@dataclass
class _Fake:
    """An executor and its own factory."""

    run: Run
    name: str = "fake"

    def create(self, workers: int) -> Any:
        return self


@cache
def _caught(run: Run) -> set[str]:
    class Suite(ExecutorContract):
        factory = _Fake(run)
        patience_s = 0.05

    found = set()
    for name, check in Suite.checks().items():
        try:
            check(Suite())
        except (AssertionError, Exception):
            found.add(name)
    for thread in _LEAKED:
        thread.shutdown()
    _LEAKED.clear()
    return found


def test_the_suite_finds_nothing_in_an_honest_executor():
    assert _caught(_honest) == set()


@pytest.mark.parametrize("run", BROKEN, ids=lambda run: run.__name__)
def test_the_suite_catches_broken_executors(run):
    assert BROKEN[run] <= _caught(run)


def test_the_suite_catches_a_pool_that_works_in_the_callers_process():
    class Suite(ExecutorContract):
        factory = serial.factory
        separate_processes = True

    with pytest.raises(AssertionError, match="processes other than the caller's"):
        Suite().test_closing_leaves_nothing_behind()


# Beyond the contract: how the pool meets sudden death


@dataclass
class DiesAtStart:
    """Work whose every process dies before it is ready."""

    def start(self) -> Any:
        os._exit(5)


def test_workers_that_die_at_start_end_the_run_with_an_explanation():
    run = pool.factory.create(1).run(DiesAtStart(), [1, 2])
    with pytest.raises(EmbedstoreError, match=r"keep dying.*exit status 5.*memory"):
        list(run)


@dataclass
class DiesOnce:
    """Work whose worker is killed from outside in the middle of task 2, the first time only."""

    flag: Path

    def start(self) -> DiesOnce:
        return self

    def prepare(self, task: int) -> int:
        return task

    def complete(self, prepared: int) -> int:
        if prepared == 2 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return prepared * 10


def test_a_worker_killed_from_outside_costs_at_most_the_task_it_was_on(tmp_path):
    outcomes = list(pool.factory.create(1).run(DiesOnce(tmp_path / "flag"), range(6)))
    assert {o.task for o in outcomes} == set(range(6))
    assert {o.task for o in outcomes if isinstance(o, Failed)} <= {2}
    assert all(o.result == o.task * 10 for o in outcomes if isinstance(o, Done))


def test_a_task_that_cannot_be_sent_is_one_failure():
    calls = [Call(0), lambda: None, Call(2)]
    outcomes = list(pool.factory.create(2).run(ContractWork(), calls))
    assert [o.task for o in outcomes if isinstance(o, Failed)] == [calls[1]]
    assert len(outcomes) == 3


def test_every_task_deadly_ends_with_every_task_failed():
    calls = [Call(n, "die in prepare" if n % 2 else "die in complete") for n in range(5)]
    outcomes = list(pool.factory.create(2).run(ContractWork(), calls))
    assert sorted(o.task.number for o in outcomes if isinstance(o, Failed)) == list(range(5))


_PARENT = """
import itertools, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
from embedstore.execution import pool
from embedstore.testing.executors import Call, ContractWork
if __name__ == "__main__":
    seen = set()
    for outcome in pool.factory.create(2).run(ContractWork(), map(Call, itertools.count())):
        seen.add(outcome.result.process)
        if len(seen) == 2:
            print(*seen, flush=True)
            input()
"""


def _parent(tmp_path: Path) -> subprocess.Popen[str]:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    return subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _assert_ends(pidfds: list[int]) -> None:
    for pidfd in pidfds:
        ended, _, _ = select.select([pidfd], [], [], 30)
        os.close(pidfd)
        assert ended, "a worker outlived its parent"


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
def test_workers_do_not_outlive_their_parent(tmp_path, blow):
    with _parent(tmp_path) as parent:
        assert parent.stdout is not None
        pidfds = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(pidfds) == 2
        parent.send_signal(blow)
        _assert_ends(pidfds)
        _, told = parent.communicate()
    assert told.count("Traceback") == (1 if blow == signal.SIGINT else 0), "workers print nothing"
