"""Datasets out: fused labels in one of several layouts, with their provenance and a datasheet beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from embedstore.contracts.labels import LabelSet
from embedstore.engine.datasheet import datasheet
from embedstore.engine.fusing import label_report
from embedstore.engine.label_files import LabelRow, write_labels
from embedstore.engine.label_formats import (
    huggingface_header,
    write_coco,
    write_fiftyone,
    write_huggingface,
)
from embedstore.engine.label_sr import write_sr
from embedstore.engine.provenance import provenance_lines
from embedstore.engine.workspace import Workspace
from embedstore.errors import NotFound, Refused, UsageError
from embedstore.storage.learned import LabelModelRow, VoteTable

Writer = Callable[[Path, LabelSet, Sequence[LabelRow], Mapping[str, Any]], int | None]
FOLDERS: Mapping[str, Writer] = {
    "huggingface": write_huggingface,
    "coco": write_coco,
    "fiftyone": write_fiftyone,
    "dicom-sr": write_sr,
}
FILES = (".csv", ".parquet")


def export_labels(
    workspace: Workspace, label_set: str, out: Path, layout: str | None, deidentified: bool = False
) -> int:
    """Write the fused labels with their probabilities and every vote behind them; returns the labels written.

    A .csv or .parquet file (layout None) with its provenance and datasheet beside it; or a new folder with
    them in it. Raises UsageError for another suffix or a folder that is there, NotFound before a model was
    fitted, Refused for structured reports of a de-identified store: they repeat who the patient is.
    """
    if layout == "dicom-sr" and deidentified:
        raise Refused("a structured report names the patient of its image; this store is de-identified")
    labels = workspace.catalog.labels
    found = labels.label_set(label_set)
    try:
        model = labels.label_model(label_set)
    except NotFound:
        raise NotFound(
            f"'{label_set}' has no fused labels; run: embedstore label model {label_set}"
        ) from None
    table = labels.votes(label_set, model.items)
    rows = _rows(workspace, found, model, table)
    told = {
        "label_set": label_set,
        "model": model.kind,
        "created": model.created,
        "voters": dict(zip(table.voters, table.versions, strict=True)),
    }
    sheet = datasheet(found, rows, told, _accuracies(workspace, label_set))
    if layout is None:
        count = write_labels(out, found, rows, told)
        _beside(workspace, label_set, out.with_suffix(".provenance.jsonl"))
        out.with_suffix(".datasheet.md").write_text(sheet, encoding="utf-8")
        return count
    return _folder(workspace, found, rows, told, out, layout, sheet)


def _folder(
    workspace: Workspace,
    label_set: LabelSet,
    rows: Sequence[LabelRow],
    told: Mapping[str, Any],
    out: Path,
    layout: str,
    sheet: str,
) -> int:
    """The folder appears whole or not at all."""
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UsageError(f"{out}: is there already; name a new folder")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"{out}: its folder does not exist; create it first")
    draft = out.with_name(out.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        written = FOLDERS[layout](draft, label_set, rows, told)
        _beside(workspace, label_set.name, draft / "provenance.jsonl")
        head = huggingface_header(label_set, rows) if layout == "huggingface" else ""
        (draft / "README.md").write_text(head + sheet, encoding="utf-8")
        if out.is_dir():
            out.rmdir()
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return len(rows) if written is None else written


def _beside(workspace: Workspace, label_set: str, path: Path) -> None:
    with path.open("w", encoding="ascii") as stream:
        stream.writelines(provenance_lines(workspace, label_set))


def _rows(
    workspace: Workspace, label_set: LabelSet, model: LabelModelRow, table: VoteTable
) -> list[LabelRow]:
    position = {int(item): n for n, item in enumerate(table.items)}
    classes = label_set.classes
    return [
        LabelRow(
            item=item,
            label=classes[int(model.labels[n])],
            probabilities={c: float(p) for c, p in zip(classes, model.probabilities[n], strict=True)},
            majority=classes[int(model.majority[n])] if model.majority[n] >= 0 else None,
            votes=_votes_of(label_set, table, position.get(item.id)),
        )
        for n, item in enumerate(workspace.catalog.items(model.items.tolist()))
    ]


def _votes_of(label_set: LabelSet, table: VoteTable, row: int | None) -> dict[str, str]:
    if row is None:
        return {}
    return {
        voter: label_set.classes[int(value)]
        for voter, value in zip(table.voters, table.values[row], strict=True)
        if value >= 0
    }


def _accuracies(workspace: Workspace, label_set: str) -> dict[str, str]:
    """Of each voter on persons' labels, with interval and counts."""
    found = {}
    for one in label_report(workspace, label_set, None).voters:
        if one.accuracy is not None and one.accuracy["value"] is not None:
            a = one.accuracy
            span = f" [{a['low']:.3f}, {a['high']:.3f}]" if a["low"] is not None else ""
            found[one.voter] = (
                f"{a['value']:.3f}{span} ({a['n_images']} images, {a['n_patients']} patients, "
                f"{a['n_positives']} positive; 95 % bootstrap over patients)"
            )
    return found
