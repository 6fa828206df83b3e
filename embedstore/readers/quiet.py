"""Decoders warn and log with what they find in a file; here they are kept quiet while they work on one."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

_LOCK = threading.RLock()


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """No Python warning and no record of these loggers leaves this block: they may carry patient data.

    What matters of them (short pixel data, undecodable frames) readers check themselves and raise. Warning
    filters are global to the process, hence the lock.
    """
    with _LOCK, warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        for name in loggers:
            stack.enter_context(_contained(logging.getLogger(name)))
        yield


@contextmanager
def _contained(logger: logging.Logger) -> Iterator[None]:
    """Records stop at this logger, which has a handler that drops them."""
    dropped, before = logging.NullHandler(), logger.propagate
    logger.addHandler(dropped)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(dropped)


def quiet_pydicom() -> AbstractContextManager[None]:
    """`quiet` for pydicom, whose messages quote header values."""
    return quiet("pydicom")
