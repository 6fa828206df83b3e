"""Executors by name."""

from __future__ import annotations

from embedstore import discovery
from embedstore.contracts.executor import Executor, ExecutorFactory
from embedstore.settings import Settings


def executor(name: str, workers: int) -> Executor:
    """An executor of that name. Raises UnknownPlugin."""
    factory: ExecutorFactory = discovery.find_plugin(discovery.EXECUTORS, name).load()
    return factory.create(workers)


def reading_executor(settings: Settings) -> Executor:
    """Where files are read: in a process of its own unless the settings say otherwise."""
    return executor("apart" if settings.reading == "apart" else "serial", 1)
