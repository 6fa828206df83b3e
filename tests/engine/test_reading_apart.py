"""Reading in a process of its own: the same store, and a file that kills it or holds it up is one failure."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from embedstore.contracts.executor import Done, Failed, LongTask
from embedstore.contracts.record import Asset, Header
from embedstore.engine.ranges import Slices
from embedstore.engine.reading import Look, Subject, Task
from embedstore.engine.store import Store
from embedstore.execution.pool import PoolExecutor
from embedstore.readers.sources import FileSource
from embedstore.settings import Settings


@pytest.fixture
def apart(tmp_path, monkeypatch) -> Iterator[Store]:
    monkeypatch.setenv("EMBEDSTORE_READING", "apart")
    with Store.create(tmp_path / "apart") as opened:
        yield opened


def test_settings_know_where_to_read():
    assert Settings.from_environment({}).reading == "apart"
    assert Settings.from_environment({"EMBEDSTORE_READING": "inline"}).reading == "inline"


def test_the_same_store_comes_out(store, apart, cohort, ask):
    inside, outside = (one.ingest(ask(cohort / "images")) for one in (store, apart))
    assert replace(outside, images_per_s=0, run=0) == replace(inside, images_per_s=0, run=0)
    assert apart.verify() == store.verify()
    again = apart.ingest(ask(cohort / "images"))
    assert (again.added, again.failed) == (0, 0)


@dataclass(frozen=True)
class Hostile:
    """Work whose tasks name what happens: a number is fine, "die" and "hang" are not."""

    def start(self):
        return self

    def prepare(self, task):
        if task == "die":
            os.abort()
        if task == "hang":
            while True:
                time.monotonic()
        return np.full(300_000, task, np.float32)  # more than a pipe holds

    def complete(self, prepared):
        return float(prepared.mean())


def test_what_hangs_or_dies_takes_nothing_with_it():
    tasks = [0, 1, "hang", 2, "die", 3, 4]
    outcomes = list(PoolExecutor(1, in_flight=4, patience_s=1.0).run(Hostile(), tasks))
    assert sorted(o.result for o in outcomes if isinstance(o, Done)) == [0, 1, 2, 3, 4]
    reasons = {o.task: o.reason for o in outcomes if isinstance(o, Failed)}
    assert reasons == {
        "hang": "it took more than 1 s",
        "die": "the worker process died (killed by SIGABRT)",
    }


@dataclass(frozen=True)
class Slow:
    """A task that computes for `seconds` and may take `allowance_s` beyond the limit."""

    seconds: float
    allowance_s: float

    def start(self):
        return self

    def prepare(self, task):
        until = time.process_time() + task.seconds
        while time.process_time() < until:
            pass
        return task

    def complete(self, prepared):
        return prepared.seconds


def test_a_long_task_has_the_time_it_says_it_needs():
    honest, hanging = Slow(0.8, 3.0), Slow(60.0, 0.2)
    outcomes = {one.task: one for one in PoolExecutor(1, patience_s=0.3).run(honest, [hanging, honest])}
    assert isinstance(outcomes[honest], Done)
    assert isinstance(outcomes[hanging], Failed)


def test_time_is_given_by_the_size_of_files_each_counted_once(tmp_path):
    source = FileSource(tmp_path / "large.nii.gz", 320 << 20, 0)
    asset = Asset(source=source, part="slice/k/1", reader="volume", header=Header())
    task = Task(1, (Subject(asset), Subject(replace(asset, part="slice/k/2"))))
    for one in (task, Slices(1, (asset, asset)), Look(1, (source,), (None,))):
        assert isinstance(one, LongTask)
        assert one.allowance_s == 20
    assert Look(1, (replace(source, size=1 << 50),), (None,)).allowance_s == 600


def test_a_file_whose_parts_break_their_process_is_given_up(store, cohort, ask, monkeypatch):
    """Sixty parts at ten seconds each would be ten minutes for one file."""

    class Breaking:
        """Instead of reading apart: every task breaks its process."""

        tried = 0

        def __call__(self, encoder, limits, reading, tasks):
            for task in tasks:
                self.tried += 1
                yield Failed(task, "it took more than 10 s")

    breaking = Breaking()
    monkeypatch.setattr("embedstore.engine.ingest.embed_beside", breaking)
    np.savez(cohort.parent / "many.npz", train_images=np.zeros((60, 28, 28), np.uint8))
    report = store.ingest(ask(cohort.parent / "many.npz"))
    assert (report.seen, report.failed) == (1, 1), "of sixty parts none came in"
    assert breaking.tried <= 4
    assert report.failures[0].reason.startswith("it took more than 10 s")
