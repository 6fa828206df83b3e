"""Executors run work over tasks, in this process or others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Done(Generic[T, R]):
    """A task and its result."""

    task: T
    result: R


@dataclass(frozen=True, slots=True)
class Failed(Generic[T]):
    """A task that raised, or whose worker process died. `reason` is one line."""

    task: T
    reason: str


@runtime_checkable
class LongTask(Protocol):
    """A task that may honestly take longer in `prepare` than others, because it goes through large files.

    An executor with a time limit adds `allowance_s` seconds to it.
    """

    @property
    def allowance_s(self) -> float:
        """Seconds beyond the limit."""


class Worker(Protocol[T_contra, R_co]):
    """Lives in one process. `prepare` runs ahead on a second thread (decode) while `complete` (the forward
    pass) works on the task before it; `complete` is always called from one and the same thread."""

    def prepare(self, task: T_contra) -> Any:
        """Decode and preprocess."""

    def complete(self, prepared: Any) -> R_co:
        """Encode."""


class Work(Protocol[R_co]):
    """A picklable description from which each process builds its own worker (its own reader and encoder)."""

    def start(self) -> Worker[Any, R_co]:
        """Build the worker; called once in each process."""


@runtime_checkable
class Executor(Protocol):
    """Runs tasks and yields an outcome for each, in any order; never drops one, never stops for one.

    At most a few tasks per worker are in flight, so `tasks` may be an endless iterator.
    Closing the iterator stops the workers. An error from `Work.start` is raised as it is.
    """

    name: str

    def run(self, work: Work[R], tasks: Iterable[T]) -> Iterator[Done[T, R] | Failed[T]]:
        """Lazily: outcomes come as they are finished."""


@runtime_checkable
class WarmExecutor(Executor, Protocol):
    """An executor that can start its processes before there are tasks, while the caller does other things."""

    def warm(self, work: Work[Any]) -> None:
        """Start them. `work` tells what they will need; a run may bring another one."""


class ExecutorFactory(Protocol):
    """The entry point of an executor plugin."""

    def create(self, workers: int) -> Executor:
        """An executor of that many workers (ignored where it makes no sense)."""
