"""Reading in a process of its own: the same store, and a file that kills it or holds it up is one failure."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from embedstore.contracts.executor import Done, Failed
from embedstore.engine.store import Store
from embedstore.execution.pool import PoolExecutor
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
