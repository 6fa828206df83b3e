"""pydicom warns and logs with header values in the text; here it is kept quiet while it parses a file."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.RLock()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """No warning and no log record of pydicom leaves this block: they may carry patient data.

    What matters of them (short pixel data, undecodable frames) readers check themselves and raise.
    Warning filters are global to the process, hence the lock.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger = logging.getLogger("pydicom")
        before = logger.propagate
        logger.propagate = False
        try:
            yield
        finally:
            logger.propagate = before
