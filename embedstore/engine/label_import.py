"""Labels in: a list a person filled in, a dataset as `label export` writes it, another store's votes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from embedstore.contracts.labels import LabelSet
from embedstore.engine.label_files import plain_cell
from embedstore.engine.label_requests import ImportCard
from embedstore.engine.label_sr import read_sr
from embedstore.engine.persons import say
from embedstore.engine.provenance import is_provenance, replay
from embedstore.engine.workspace import Workspace
from embedstore.errors import BadInputFile, UsageError
from embedstore.readers.normal import composed
from embedstore.readers.table_text import table_text
from embedstore.storage.filters import parse_where

Row = Mapping[str, Any]


def import_labels(workspace: Workspace, label_set: str, path: Path, by: str | None) -> ImportCard:
    """Record labels of a file or folder as votes: of person `by`, or each of its own voter for provenance.

    CSV, Parquet, a Hugging Face, COCO, FiftyOne or structured-report folder as `label export` writes it.
    A row names its image by sha256 and part, by path, or by id; an empty label is passed over.
    Raises BadInputFile (what and where), UsageError (no `by`, another label set), NotFound (no label set).
    """
    if is_provenance(path):
        name, written, missing = replay(workspace, path)
        if name != label_set:
            raise UsageError(f"{path}: holds votes on '{name}', not on '{label_set}'")
        return ImportCard(label_set=name, votes=written, missing=missing)
    if by is None:
        raise UsageError("say whose labels these are: --by NAME")
    found = workspace.catalog.labels.label_set(label_set)
    rows = [row for row in _rows(path, found) if str(row.get("label") or "").strip()]
    if not rows:
        raise BadInputFile(f"{path}: has no label in its column 'label'")
    ids = _items(workspace, rows)
    told = {n: str(row["label"]).strip() for n, row in zip(ids, rows, strict=True) if n is not None}
    return ImportCard(
        label_set=label_set,
        votes=say(workspace, label_set, told, by) if told else 0,
        missing=sum(n is None for n in ids),
    )


def _rows(path: Path, label_set: LabelSet) -> Iterator[Row]:
    if path.is_dir():
        yield from _folder(path, label_set)
    elif path.suffix.lower() == ".csv":
        yield from _csv(path)
    elif path.suffix.lower() == ".parquet":
        yield from _parquet(path, label_set)
    else:
        raise BadInputFile(f"{path}: labels come as .csv, .parquet, .jsonl provenance, or an exported folder")


def _csv(path: Path) -> Iterator[Row]:
    with table_text(path) as text:  # a list that was filled in comes back from a spreadsheet
        reader = csv.DictReader(chain([text.first], text.rest), delimiter=text.delimiter)
        if "label" not in (reader.fieldnames or ()):
            raise BadInputFile(
                f"{path}: has no column 'label'; its columns: {', '.join(reader.fieldnames or ())}"
            )
        try:
            for row in reader:
                yield {n: plain_cell(value) for n, value in row.items() if n and isinstance(value, str)}
        except csv.Error as error:
            raise BadInputFile(f"{path}: line {reader.line_num}: {error}") from None


def _parquet(path: Path, label_set: LabelSet) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowInvalid):
        raise BadInputFile(f"{path}: is no Parquet file") from None
    for row in rows:
        yield {**row, "label": _named(row.get("label"), label_set, path)}


def _named(label: Any, label_set: LabelSet, path: Path) -> str | None:
    """A class by its name, or by its number as Hugging Face has it."""
    if isinstance(label, int):
        if not 0 <= label < len(label_set.classes):
            raise BadInputFile(f"{path}: label {label} is not the number of a class of '{label_set.name}'")
        return label_set.classes[label]
    return None if label is None else str(label)


def _folder(path: Path, label_set: LabelSet) -> Iterator[Row]:
    if (path / "annotations.json").exists():
        yield from _coco(path / "annotations.json")
    elif (path / "labels.json").exists():
        yield from _fiftyone(path / "labels.json")
    elif parts := sorted((path / "data").glob("*.parquet")):
        for part in parts:
            yield from _parquet(part, label_set)
    elif reports := sorted(path.glob("*.dcm")):
        for report in reports:
            uid, label = read_sr(report, label_set)
            yield {"sop_uid": uid, "label": label}
    else:
        raise BadInputFile(f"{path}: is no dataset as embedstore exports it")


def _coco(path: Path) -> Iterator[Row]:
    told = _json(path)
    try:
        names = {one["id"]: one["name"] for one in told["categories"]}
        images = {one["id"]: one for one in told["images"]}
        for one in told["annotations"]:
            image = images[one["image_id"]]
            keys = {"path": image["file_name"], "sha256": image.get("sha256"), "part": image.get("part")}
            yield {**keys, "label": names[one["category_id"]]}
    except (KeyError, TypeError) as error:
        raise BadInputFile(f"{path}: lacks {error}, which COCO has") from None


def _fiftyone(path: Path) -> Iterator[Row]:
    told = _json(path)
    try:
        for key, one in told["labels"].items():
            known = one.get("attributes") or {}
            yield {"id": key, "sha256": known.get("sha256"), "part": known.get("part"), "label": one["label"]}
    except (KeyError, TypeError, AttributeError):
        raise BadInputFile(f"{path}: is not what FiftyOne calls labels.json") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInputFile(f"{path}: is no JSON") from None


def _items(workspace: Workspace, rows: Iterable[Row]) -> list[int | None]:
    """The item each row is about, None where it is not in this store."""
    rows = list(rows)
    catalog = workspace.catalog
    keys = [(str(row["sha256"]), str(row.get("part") or "image")) for row in rows if row.get("sha256")]
    by_key = catalog.find_items(set(keys))
    every = catalog.select_items(parse_where("kind = 'image'"), None)
    known = set(every.tolist())
    columns = catalog.columns(every, ["path", "sop_uid"])
    by_path: dict[str, int] = {}
    by_uid: dict[str, int] = {}
    for n, told in zip(every.tolist(), columns, strict=True):
        by_path.setdefault(str(told["path"]), n)
        if told["sop_uid"] is not None:  # else a row that says "None" would be about the first such image
            by_uid.setdefault(str(told["sop_uid"]), n)
    for path, n in list(by_path.items()):  # a list that came by way of another machine
        by_path.setdefault(composed(path), n)
    return [_item(row, by_key, by_path, by_uid, known) for row in rows]


def _item(
    row: Row,
    by_key: Mapping[tuple[str, str], int],
    by_path: Mapping[str, int],
    by_uid: Mapping[str, int],
    known: set[int],
) -> int | None:
    if row.get("sha256"):
        return by_key.get((str(row["sha256"]), str(row.get("part") or "image")))
    if row.get("sop_uid"):
        return by_uid.get(str(row["sop_uid"]))
    if row.get("path"):  # a list made for another store has other ids
        told = str(row["path"])
        return by_path.get(told, by_path.get(composed(told)))
    number = str(row.get("id") or "")
    return int(number) if number.isdecimal() and int(number) in known else None
