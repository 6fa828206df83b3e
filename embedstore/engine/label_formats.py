"""Labelled datasets in layouts that other programs load: Hugging Face, COCO, FiftyOne. Each is a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedstore.contracts.labels import LabelSet
from embedstore.engine.label_files import LabelRow, record_of

_SPLITS = {
    "train": "train",
    **dict.fromkeys(("dev", "val", "validation"), "validation"),
    "test": "test",
}


def write_huggingface(
    folder: Path, label_set: LabelSet, rows: Sequence[LabelRow], provenance: Mapping[str, Any]
) -> None:
    """`data/SPLIT-00000-of-00001.parquet`, one file a split, with features that `datasets` reads.

    label is a ClassLabel. Images are named by path, not copied. A row without a known split is in `train`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    by_split: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        split = _SPLITS.get(str(row.item.columns.get("split") or "").lower(), "train")
        record = record_of(label_set, row)
        record["label"] = label_set.classes.index(row.label)
        by_split.setdefault(split, []).append(record)
    (folder / "data").mkdir()
    for split, records in sorted(by_split.items()):
        table = pa.Table.from_pylist(records, schema=_schema(label_set))
        told = {"info": {"features": _features(label_set)}}
        metadata = {b"huggingface": json.dumps(told).encode(), b"embedstore": json.dumps(provenance).encode()}
        pq.write_table(
            table.replace_schema_metadata(metadata), folder / "data" / f"{split}-00000-of-00001.parquet"
        )


_TEXTS = ("path", "part", "sha256", "patient", "study", "site", "label_set", "majority", "votes")


def _schema(label_set: LabelSet) -> Any:
    import pyarrow as pa

    kinds = {
        "id": pa.int64(),
        **{name: pa.string() for name in _TEXTS},
        "label": pa.int64(),
        **{f"p_{name}": pa.float64() for name in label_set.classes},
    }
    order = list(_order(label_set))
    return pa.schema([(name, kinds[name]) for name in order])


def _order(label_set: LabelSet) -> tuple[str, ...]:
    first = ("id", "path", "part", "sha256", "patient", "study", "site", "label_set", "label", "majority")
    return (*first, *(f"p_{name}" for name in label_set.classes), "votes")


def _features(label_set: LabelSet) -> dict[str, Any]:
    value = {name: {"dtype": "string", "_type": "Value"} for name in _TEXTS}
    value["id"] = {"dtype": "int64", "_type": "Value"}
    value |= {f"p_{name}": {"dtype": "float64", "_type": "Value"} for name in label_set.classes}
    label: dict[str, Any] = {"names": list(label_set.classes), "_type": "ClassLabel"}
    return {name: label if name == "label" else value[name] for name in _order(label_set)}


def huggingface_header(label_set: LabelSet, rows: Sequence[LabelRow]) -> str:
    """The YAML that a dataset card begins with."""
    size = next(name for limit, name in _SIZES if len(rows) < limit)
    return (
        "---\n"
        f"pretty_name: {json.dumps(label_set.name)}\n"
        "task_categories:\n- image-classification\n"
        f"size_categories:\n- {size}\n"
        "configs:\n- config_name: default\n  data_files: data/*.parquet\n"
        "---\n\n"
    )


_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**12, "n>100K"))


def write_coco(
    folder: Path, label_set: LabelSet, rows: Sequence[LabelRow], provenance: Mapping[str, Any]
) -> None:
    """`annotations.json`: COCO's images, categories and annotations.

    An annotation is about its whole image, with the box of the image where its size is known; `score` is the
    probability of its category.
    """
    categories = [
        {"id": n, "name": name, "supercategory": label_set.name}
        for n, name in enumerate(label_set.classes, 1)
    ]
    images, annotations = [], []
    for row in rows:
        item, size = row.item, (row.item.columns.get("columns"), row.item.columns.get("rows"))
        image: dict[str, Any] = {"id": item.id, "file_name": item.path, "part": item.part}
        told: dict[str, Any] = {
            "id": item.id,
            "image_id": item.id,
            "category_id": label_set.classes.index(row.label) + 1,
            "iscrowd": 0,
            "score": row.probabilities[row.label],
            "attributes": _attributes(row),
        }
        if all(size):
            width, height = (int(side or 0) for side in size)
            image |= {"width": width, "height": height}
            told |= {"bbox": [0, 0, width, height], "area": width * height}
        images.append({**image, "sha256": item.sha256, "patient": item.patient})
        annotations.append(told)
    document = {
        "info": {"description": label_set.name, "embedstore": provenance},
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }
    _write(folder / "annotations.json", document)


def write_fiftyone(
    folder: Path, label_set: LabelSet, rows: Sequence[LabelRow], provenance: Mapping[str, Any]
) -> None:
    """`labels.json` and `data.json` of a FiftyOneImageClassificationDataset: labels and paths by key.

    The key is the item's id; images are named, not copied.
    """
    labels = {
        str(row.item.id): {
            "label": row.label,
            "confidence": row.probabilities[row.label],
            "attributes": {
                **_attributes(row),
                "patient": row.item.patient,
                "sha256": row.item.sha256,
                "part": row.item.part,
            },
        }
        for row in rows
    }
    _write(folder / "labels.json", {"classes": list(label_set.classes), "labels": labels})
    _write(folder / "data.json", {str(row.item.id): row.item.path for row in rows})


def _attributes(row: LabelRow) -> dict[str, Any]:
    return {"probabilities": dict(row.probabilities), "majority": row.majority, "votes": dict(row.votes)}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, ensure_ascii=True, allow_nan=False) + "\n", encoding="ascii")
