"""Executors by name."""

from __future__ import annotations

from embedstore import discovery
from embedstore.contracts.executor import Executor, ExecutorFactory, WarmExecutor
from embedstore.contracts.record import Cut
from embedstore.engine.reading import DescribeWork
from embedstore.settings import Settings


def executor(name: str, workers: int) -> Executor:
    """An executor of that name. Raises UnknownPlugin."""
    factory: ExecutorFactory = discovery.find_plugin(discovery.EXECUTORS, name).load()
    return factory.create(workers)


def reading_executor(settings: Settings, cut: Cut) -> Executor:
    """Where files are read: in a process of its own unless the settings say otherwise; it starts at once, to
    describe files under this cut."""
    found = executor("apart" if settings.reading == "apart" else "serial", 1)
    if isinstance(found, WarmExecutor):
        found.warm(DescribeWork(settings.limits, cut))
    return found
