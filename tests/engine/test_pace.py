"""What the progress line of an ingest says: how far, how fast, what it waits for."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from embedstore.engine import pace
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.settings import Limits

REFERENCE = EncoderChoice(name="reference", threads=1)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def _passes(paced, clock, seconds, waiting):
    with paced.waiting():
        clock[0] += seconds * waiting
    clock[0] += seconds * (1 - waiting)


@pytest.mark.parametrize(
    ("waiting", "bound"), [(0.02, "bound by the forward pass"), (0.4, "bound by decoding")]
)
def test_what_bounds_it_is_what_the_forward_pass_waits_for(clock, waiting, bound):
    paced = pace.Pace()
    _passes(paced, clock, 4, waiting)
    assert paced.remark(48) == f"12.0 images/s, {bound}"


def test_the_rate_is_of_late(clock):
    paced = pace.Pace()
    for _ in range(6):
        _passes(paced, clock, 10, 0.5)
        paced.remark(0)
    _passes(paced, clock, 10, 0)
    paced.remark(200)
    _passes(paced, clock, 10, 0)
    assert paced.remark(400) == "20.0 images/s, bound by the forward pass"


def test_the_rate_at_the_end_is_of_images_alone(clock):
    """Neither what was skipped before and after them nor reports make it slower than it was."""
    paced = pace.Pace()
    with paced.aside():
        clock[0] += 100
    clock[0] += 1000
    paced.begin()
    clock[0] += 4
    paced.reach()
    with paced.aside():
        clock[0] += 50
    clock[0] += 6
    paced.reach()
    with paced.aside():
        clock[0] += 500
    clock[0] += 300
    assert paced.per_second(20) == 2.0
    assert pace.Pace().per_second(0) == 0.0


def test_nothing_is_said_of_waiting_in_other_processes(clock):
    paced = pace.Pace()
    clock[0] += 5
    assert paced.remark(50) == "10.0 images/s"


def test_what_is_to_come_is_estimated_from_what_was_met(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("x")
    count = pace.SourceCount((tmp_path,), Limits())
    count._thread.join()
    paced = pace.Pace(count)
    assert paced.total() is None, "nothing was met yet"
    paced.meet(10)
    assert paced.total() == 40
    for items in (30, 0, 1):
        paced.meet(items)
    assert paced.total() == 42, "all are met; a file without an item counts once"
    count.stop()
    assert pace.Pace().total() is None


def test_a_path_that_is_not_there_is_left_to_who_reads_it(tmp_path):
    count = pace.SourceCount((tmp_path / "none",), Limits())
    count.stop()
    assert count.found is None


@pytest.mark.parametrize("workers", [1, 2])
def test_an_ingest_tells_how_far_it_is(tmp_path, monkeypatch, workers):
    monkeypatch.setenv("EMBEDSTORE_READING", "inline")
    rng = np.random.default_rng(3)
    for number in range(70):
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.dcm").write_bytes(b"no")
    told = []
    request = IngestRequest(paths=(tmp_path,), encoder=REFERENCE, text_encoder=REFERENCE, workers=workers)
    with Store.create(tmp_path / "store") as store:
        report = store.ingest(request, lambda *one: told.append(one))
    stages = [stage.partition(": ")[0] for stage, _, _ in told]
    assert sorted(set(stages), key=stages.index) == ["reading", "embedding", "indexing"]
    assert stages == sorted(stages, key=["reading", "embedding", "indexing"].index), "no stage twice"
    embedding = [one for one in told if one[0].startswith("embedding")]
    assert embedding[-1][1:] == (report.seen, report.seen)
    bound = r", bound by (decoding|the forward pass)" if workers == 1 else ""
    assert all(re.fullmatch(rf"embedding: \d+\.\d images/s{bound}", stage) for stage, _, _ in embedding)
