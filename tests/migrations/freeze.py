"""Freeze a small store of the present schema: `python -m tests.migrations.freeze` once for each revision.

Writes `frozen/REVISION/`: the folder without its database, the database as SQL, and what must be found in it.
A frozen store is never made anew: it is what users of that revision have on their disks.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path

import numpy as np

from embedstore.contracts.labels import HeadSpec, LabelSet, Vote
from embedstore.storage.batches import IngestBatch, NewVectors, Problem
from embedstore.storage.catalog import Catalog
from embedstore.storage.learned import NewBridge, NewLabelModel
from embedstore.storage.schema import HEAD
from embedstore.storage.store import create_store, open_store
from embedstore.storage.wholes import CURRENT, derived_note
from tests.unit.storage.storagekit import batch_of, bound_spec, item, key, source, vectors_of

FROZEN = Path(__file__).parent / "frozen"


def fill(catalog: Catalog) -> None:
    images = catalog.ensure_space(bound_spec("image", 4), "image")
    texts = catalog.ensure_space(bound_spec("text", 4), "text")
    run = catalog.begin_run("ingest", {"site": "A"})
    catalog.commit(batch_of([1, 2], images, patient_id="P1", label="normal", study_uid="1.2", modality="CR"))
    catalog.commit(batch_of([3], images, label="tumour", extra={"score": 0.5, "näme": "ü"}))
    twin = item(3, path="/twin.png", label="normal")
    catalog.commit(IngestBatch(sources=(source(3, path="/twin.png"),), items=(twin,), run_id=run))
    report = item(9, path="/r.xml", kind="report", text="No effusion.", patient_id="P1", study_uid="1.2")
    words = NewVectors(space_id=texts.id, keys=(key(9),), vectors=vectors_of([key(9)], 4))
    catalog.commit(IngestBatch(sources=(source(9, path="/r.xml"),), items=(report,), vectors=(words,)))
    failure = Problem(path="/broken.dcm", stage="describe", reason="truncated")
    catalog.commit(
        IngestBatch(sources=(source(8, path="/broken.dcm", outcome="failed"),), problems=(failure,))
    )
    catalog.link_reports()
    catalog.end_run(run, {"seen": 5})
    catalog.commit(batch_of([5, 6], images, whole="volume", series_uid="1.3"))
    derived = catalog.wholes.ensure_space(images, "derived", {"method": "mean"})
    (parts,) = catalog.wholes.parts(images.id)
    mean = catalog.vectors(images.id, parts.vectors).mean(axis=0, keepdims=True)
    catalog.wholes.replace(derived.id, [parts], mean)
    catalog.set_note(derived_note("derived"), CURRENT)
    learn(catalog, catalog.select_items(kind="image"), images.fingerprint, texts.fingerprint)


def learn(catalog: Catalog, ids: np.ndarray, images: str, texts: str) -> None:
    catalog.labels.ensure_label_set(LabelSet(name="finding", classes=("normal", "tumour")))
    for version, value in (("1", 0), ("2", 1)):
        vote = {"label_set": "finding", "voter": "rules", "voter_version": version, "probability": 0.75}
        catalog.labels.save_votes([Vote(item_id=int(i), value=value, **vote) for i in ids[:2]])
    fused = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    catalog.labels.save_label_model(
        NewLabelModel(
            label_set="finding",
            kind="dawid-skene",
            params={"iterations": 3},
            items=ids[:2],
            probabilities=fused,
            majority=np.array([1, -1]),
            labels=np.array([1, -1]),
        )
    )
    catalog.models.save_bridge(
        NewBridge(
            name="bridge",
            image_space=images,
            text_space=texts,
            kind="ridge",
            spec={"alpha": 1.0},
            arrays={"map": np.eye(2)},
            anchors=ids[:1],
            anchor_patients=("P1",),
            quality={"r_at_10": 0.5},
        )
    )
    head = HeadSpec(
        name="head",
        space=images,
        target="label",
        classes=("normal", "tumour"),
        data_sha256="0" * 64,
        seed=1,
        split={"by": "patient"},
        params={"C": 1.0},
    )
    catalog.models.save_head(head, {"weights": np.ones((4, 2))})
    catalog.models.save_predictions("head", ids[:2], fused)


def expectations(catalog: Catalog) -> dict[str, object]:
    counts = catalog.counts()
    space = catalog.spaces()[0]
    ids = catalog.vector_ids(space.id)
    items = catalog.items(catalog.vector_items(space.id, ids).items.tolist())
    return {
        "counts": [counts.images, counts.reports, counts.links, counts.conflicts, counts.failures],
        "vectors": [[round(x, 3) for x in row] for row in catalog.vectors(space.id, ids).tolist()],
        "items": [[i.path, i.patient, i.columns["label"], i.report] for i in items],
        "votes": catalog.labels.votes("finding").values.tolist(),
        "predictions": catalog.models.predictions("head").probabilities.round(4).tolist(),
        "bridge": {name: a.tolist() for name, a in catalog.models.bridge_arrays("bridge").items()},
    }


def freeze(out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "store"
        create_store(folder)
        with open_store(folder) as catalog:
            fill(catalog)
            out.mkdir(parents=True)
            (out / "expected.json").write_text(json.dumps(expectations(catalog), indent=1) + "\n")
        connection = sqlite3.connect(folder / "catalog.db")
        dump = "\n".join(connection.iterdump())
        connection.close()
        (out / "catalog.sql.gz").write_bytes(gzip.compress(dump.encode(), mtime=0))
        shutil.copytree(folder, out / "store", ignore=shutil.ignore_patterns("catalog.db*", "writer.lock"))


if __name__ == "__main__":
    freeze(FROZEN / HEAD)
