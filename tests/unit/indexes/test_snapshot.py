"""Snapshots appear whole or not at all, also when the disk is full or the process dies."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from embedstore.errors import StorageFull, StoreDamaged
from embedstore.indexes import exact, faiss_backend

FACTORIES = [exact.factory, faiss_backend.factory, faiss_backend.FaissFactory(ann_rows=50)]


def filled(factory, rows=200, seq=1):
    index = factory.create(8, "cosine", "a space")
    index.add(np.arange(rows), np.random.default_rng(rows).standard_normal((rows, 8)).astype(np.float32), seq)
    return index


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("which", [1, 2])
def test_a_full_disk_leaves_the_old_snapshot(factory, which, tmp_path, monkeypatch):
    filled(factory).snapshot(tmp_path)
    calls = []

    def full(handle):
        calls.append(handle)
        if len(calls) == which:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match="free some"):
        filled(factory, 300, 2).snapshot(tmp_path)
    monkeypatch.undo()
    assert len(factory.restore(tmp_path, 8, "cosine", "a space")) == 200
    assert not list(tmp_path.glob(".*")), "no temporary file is left"


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_death_between_the_two_files_leaves_the_old_snapshot(factory, tmp_path):
    filled(factory).snapshot(tmp_path)
    sidecar = (tmp_path / "index.json").read_bytes()
    old = {path.name: path.read_bytes() for path in tmp_path.glob("*.vectors")}
    filled(factory, 300, 2).snapshot(tmp_path)
    for name, data in old.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "index.json").write_bytes(sidecar)
    (tmp_path / ".half.tmp").write_bytes(b"half")
    assert len(factory.restore(tmp_path, 8, "cosine", "a space")) == 200
    filled(factory, 400, 3).snapshot(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "what the dead process left is cleared away"


def test_a_snapshot_of_another_plugin_is_refused(tmp_path):
    filled(exact.factory).snapshot(tmp_path)
    with pytest.raises(StoreDamaged, match=r"index\.json: a snapshot of another index type.*reindex"):
        faiss_backend.factory.restore(tmp_path, 8, "cosine", "a space")


def test_a_sidecar_that_lies_is_found_out(tmp_path):
    filled(exact.factory).snapshot(tmp_path)
    path = tmp_path / "index.json"
    described = json.loads(path.read_bytes())
    described["applied_seq"] = 99
    path.write_text(json.dumps(described))
    with pytest.raises(StoreDamaged, match=r"index\.json: the checksum does not match"):
        exact.factory.restore(tmp_path, 8, "cosine", "a space")
    path.write_text("[]")
    with pytest.raises(StoreDamaged, match=r"index\.json: cannot be read"):
        exact.factory.restore(tmp_path, 8, "cosine", "a space")


@pytest.mark.parametrize("factory", FACTORIES)
def test_nothing_is_pickled(factory, tmp_path):
    filled(factory).snapshot(tmp_path)
    for path in tmp_path.iterdir():
        with pytest.raises(Exception):  # noqa: B017, PT011
            pickle.loads(path.read_bytes())


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_same_history_gives_the_same_bytes(factory, tmp_path):
    names = []
    for place in ("a", "b"):
        filled(factory).snapshot(tmp_path / place)
        names.append(sorted(path.name for path in (tmp_path / place).iterdir()))
    assert names[0] == names[1]


_WRITER = """
import sys, numpy as np
from pathlib import Path
from embedstore.indexes.faiss_backend import factory
for turn in range(12):
    n = 100 + int(sys.argv[2]) * 50 + turn
    index = factory.create(8, "cosine", "a space")
    index.add(np.arange(n), np.random.default_rng(n).standard_normal((n, 8)).astype(np.float32), n)
    index.snapshot(Path(sys.argv[1]))
"""


def test_two_processes_may_save_at_once(tmp_path):
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(2)]
    seen = 0
    while any(writer.poll() is None for writer in writers):
        try:
            index = faiss_backend.factory.restore(tmp_path, 8, "cosine", "a space")
        except StoreDamaged as error:
            early = "there is no snapshot" in str(error) and not seen
            if not early:
                raise
        else:
            seen += 1
            assert len(index) == index.applied_seq, "each snapshot is one writer's, whole"
    assert all(writer.returncode == 0 for writer in writers)
    assert len(list(tmp_path.iterdir())) == 2


def test_other_wrapped_libraries_in_the_process_change_nothing(tmp_path):
    """SWIG modules share a type table: whichever is imported last gives FAISS's vectors their class."""
    pytest.importorskip("SimpleITK")
    script = (
        "import sys, pathlib, numpy as np, faiss, SimpleITK\n"
        "from embedstore.indexes import faiss_backend as f\n"
        "for rows in (None, 50):\n"
        "    made = f.FaissFactory(rows).create(8, 'cosine', 's')\n"
        "    made.add(np.arange(200), np.random.default_rng(0).random((200, 8), np.float32), 1)\n"
        "    made.snapshot(pathlib.Path(sys.argv[1]))\n"
        "    assert len(f.factory.restore(pathlib.Path(sys.argv[1]), 8, 'cosine', 's')) == 200\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
