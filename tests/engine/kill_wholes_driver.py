"""Adds parts and derives wholes in child processes that are killed, and checks the wholes after each kill.

Run as `python -m tests.engine.kill_wholes_driver FOLDER KILLS SEED`; prints one JSON document.
"""

from __future__ import annotations

import json
import os
import random
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.engine.store import Store
from embedstore.engine.wholes import derive, derived_spaces, expect_parts, pooling_of
from embedstore.engine.workspace import Workspace
from embedstore.storage.store import create_store
from embedstore.storage.wholes import CURRENT, derived_note
from tests.unit.storage.kill_driver import kill_once
from tests.unit.storage.storagekit import batch_of, bound_spec, key, vectors_of

WHOLES, BATCH = 3, 4
POOLS = ("mean", "max")
STEPS = 300  # of a child: some six batches with their wholes


def numbers(batch: int) -> range:
    return range(batch * BATCH, (batch + 1) * BATCH)


def whole_of(batch: int) -> str:
    return f"stack {batch % WHOLES}"


def write_for_ever(folder: Path, first: int, acknowledge: int) -> None:
    """A batch of parts of one whole, then the wholes, then the word that both are there."""
    with Store.open(folder) as store:
        workspace, batch = store._workspace, first
        base = workspace.catalog.spaces()[0]
        while True:
            expect_parts(workspace, base)
            workspace.catalog.commit(batch_of(numbers(batch), base, whole=whole_of(batch)))
            derive(workspace, base, POOLS)
            os.write(acknowledge, b"%d\n" % batch)
            batch += 1


def wholes_of(workspace: Workspace, pool: str) -> dict[str, tuple[int, np.ndarray]]:
    """Number of parts and vector of every derived row."""
    catalog = workspace.catalog
    for space in derived_spaces(workspace, catalog.spaces()[0]):
        if pooling_of(space).text == pool:
            rows = catalog.wholes.rows(space.id)
            vectors = catalog.vectors(space.id, np.array([row.vector_id for row in rows], np.int64))
            return {row.whole: (row.n_parts, v) for row, v in zip(rows, vectors, strict=True)}
    return {}


def pooled(batches: list[int], pool: str) -> np.ndarray:
    rows = vectors_of([key(n) for batch in batches for n in numbers(batch)])
    return rows.max(axis=0) if pool == "max" else rows.astype(np.float64).mean(axis=0)


def check(workspace: Workspace, acknowledged: int, current: bool) -> int:
    """How many batches of parts are there. Every whole is that of a number of batches that was once there.

    current: of all of them.
    """
    catalog = workspace.catalog
    batches = catalog.counts().items // BATCH
    assert acknowledged <= batches <= acknowledged + 1, f"{acknowledged} acknowledged, {batches} there"
    for pool in POOLS:
        found = wholes_of(workspace, pool)
        fewest = batches if current else acknowledged
        assert len(found) >= min(WHOLES, fewest), f"{pool}: a whole that was acknowledged is not there"
        for whole, (parts, vector) in found.items():
            mine = [batch for batch in range(batches) if whole_of(batch) == whole]
            of = mine[: parts // BATCH]
            sure = [batch for batch in mine if batch < fewest]
            assert len(of) >= len(sure), f"{pool}: {whole} describes fewer parts than were acknowledged"
            assert np.allclose(vector, pooled(of, pool), atol=1e-6), f"{pool}: {whole} is not of its parts"
    return batches


def run(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    create_store(folder)
    with Store.open(folder) as store:
        store._workspace.catalog.ensure_space(bound_spec(), "image")
    chance = random.Random(seed)
    done = behind = 0
    for _ in range(kills):
        of_child = random.Random(chance.random())
        acknowledged = kill_once(partial(write_for_ever, folder, done), of_child, STEPS)
        assert acknowledged == list(range(done, done + len(acknowledged)))
        with Store.open(folder) as store:
            workspace = store._workspace
            base = workspace.catalog.spaces()[0]
            there = check(workspace, done + len(acknowledged), current=False)
            spaces = derived_spaces(workspace, base)
            notes = [workspace.catalog.note(derived_note(space.fingerprint)) for space in spaces]
            behind += any(note != CURRENT for note in notes)
            assert store.verify() == (), "verify finds damage"
            derive(workspace, base, POOLS)
            done = check(workspace, there, current=True)
            assert store.verify() == (), "verify finds damage in what was brought up"
    return {"kills": kills, "batches": done, "behind_after_a_kill": behind}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
