"""One writer at a time: a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select

from embedstore.errors import StoreBusy, UsageError
from embedstore.storage.database import Database
from embedstore.storage.disk import full_means_storage_full
from embedstore.storage.types import now


@contextmanager
def writer_lease(lock: Path) -> Iterator[None]:
    """Hold the store's writer lock (`writer.lock`) for the body of the `with`.

    Raises StoreBusy at once when another process, or another opening of the store in this one, holds it.
    """
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError as error:
        raise UsageError(f"{lock.parent} cannot be written to: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise UsageError(
                f"{lock.parent} is on a read-only disk; it can be searched but not written"
            ) from error
        with full_means_storage_full(lock):
            raise
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusy(f"{_holder(handle)} is writing to this store; wait for it or stop it") from None
        _sign(handle)
        yield
    finally:
        os.close(handle)  # which also frees the lock


def _sign(handle: int) -> None:
    """Say who holds the lock. Only the message of a second writer needs it, so a full disk is no obstacle."""
    record = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()})
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, record.encode(), 0)
    except OSError:
        return


def _holder(handle: int) -> str:
    try:
        record = json.loads(os.pread(handle, 4096, 0))
        since = str(record["since"]).partition(".")[0].replace("T", " ")
        return f"another embedstore (pid {record['pid']} on {record['host']}, since {since} UTC)"
    except (ValueError, KeyError, TypeError):
        return "another embedstore"


@contextmanager
def database_lease(database: Database, store_id: str) -> Iterator[None]:
    """On PostgreSQL also an advisory lock, for writers on machines that do not share the folder's locks.

    Raises StoreBusy.
    """
    if database.is_sqlite:
        yield
        return
    key = int(store_id[:15], 16)
    with database.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        if not connection.execute(select(func.pg_try_advisory_lock(key))).scalar():
            raise StoreBusy("another embedstore is writing to this store; wait for it or stop it")
        try:
            yield
        finally:
            connection.execute(select(func.pg_advisory_unlock(key)))
