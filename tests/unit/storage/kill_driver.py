"""Commits batches in child processes that are killed with SIGKILL, and checks the store after each kill.

Run as `python -m tests.unit.storage.kill_driver FOLDER KILLS SEED`; prints one JSON document. Children are
forked from a process that has started no thread, which makes 25 kills a matter of seconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from embedstore.storage import disk, segments
from embedstore.storage.catalog import Catalog
from embedstore.storage.store import create_store, open_store
from embedstore.storage.verify import verify
from tests.unit.storage.storagekit import batch_of, bound_spec, contents, expected

BATCH = 7
SEGMENT_BYTES = 2_000  # about eight batches: new segments are begun under fire too


def numbers(batch: int) -> range:
    return range(batch * BATCH, (batch + 1) * BATCH)


def write_for_ever(folder: Path, first: int, acknowledge: int) -> None:
    with open_store(folder, segment_bytes=SEGMENT_BYTES) as catalog:
        space = catalog.spaces()[0]
        batch = first
        while True:
            catalog.commit(batch_of(numbers(batch), space))
            os.write(acknowledge, b"%d\n" % batch)
            batch += 1


def die_at_step(step: int) -> None:
    """Kill this process at its step-th write, truncation, sync or statement, in the middle of a write."""
    left = [step]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                if real is os.pwrite:
                    handle, raw, offset = arguments
                    real(handle, raw[: len(raw) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return call

    from sqlalchemy.engine.default import DefaultDialect

    for name in ("pwrite", "fsync", "ftruncate"):
        setattr(segments.os, name, dying(getattr(os, name)))
    segments.sync_folder = disk.sync_folder = dying(disk.sync_folder)
    for name in ("do_execute", "do_executemany", "do_commit"):
        setattr(DefaultDialect, name, dying(getattr(DefaultDialect, name)))


def kill_once(write: Callable[[int], None], chance: random.Random, steps: int = 60) -> list[int]:
    """Start a writer, kill it, return the batches it acknowledged.

    write: writes for ever, a number a line to the file descriptor it is given. steps: it dies before so many.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        if chance.random() < 0.5:
            die_at_step(chance.randrange(1, steps))
        write(writable)
    os.close(writable)
    acknowledged = b""
    wanted = chance.randrange(1, 6)
    with os.fdopen(readable, "rb", buffering=0) as stream:
        while acknowledged.count(b"\n") < wanted and (some := stream.read(64)):
            acknowledged += some
        until = time.perf_counter() + chance.random() * 0.02
        while time.perf_counter() < until:
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while some := stream.read(64):
            acknowledged += some
    return [int(line) for line in acknowledged.split()]


def check(catalog: Catalog, done: int) -> int:
    """How many batches are there: those acknowledged, at most one more, each whole and right."""
    space = catalog.spaces()[0]
    found = contents(catalog, space)
    batches, rest = divmod(len(found), BATCH)
    assert rest == 0, f"a batch is there in part: {len(found)} items"
    assert done <= batches <= done + 1, f"{done} batches acknowledged, {batches} there"
    assert found == expected(range(batches * BATCH)), "another vector than was stored"
    assert catalog.counts().sources == catalog.counts().items == len(found)
    assert verify(catalog) == [], "verify finds damage"
    return batches


def run(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    create_store(folder)
    with open_store(folder) as catalog:
        catalog.ensure_space(bound_spec(), "image")
    chance = random.Random(seed)
    done = unacknowledged = 0
    for _ in range(kills):
        seed_of_child = random.Random(chance.random())
        acknowledged = kill_once(partial(write_for_ever, folder, done), seed_of_child)
        assert acknowledged == list(range(done, done + len(acknowledged)))
        done += len(acknowledged)
        with open_store(folder, segment_bytes=SEGMENT_BYTES) as catalog:
            there = check(catalog, done)
        unacknowledged += there - done
        done = there
    with open_store(folder, segment_bytes=SEGMENT_BYTES) as catalog:
        catalog.commit(batch_of(numbers(done), catalog.spaces()[0]))
        check(catalog, done + 1)
    return {"kills": kills, "batches": done + 1, "committed_but_not_acknowledged": unacknowledged}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
