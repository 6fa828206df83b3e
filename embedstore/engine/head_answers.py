"""A head's answers as a table: what it says of each image, how unsure it is, and which classes it may be."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedstore.contracts.image import F32, I64
from embedstore.engine.head_sets import outliers, sets_of
from embedstore.engine.heads import OpenHead
from embedstore.engine.label_files import csv_safe
from embedstore.engine.workspace import Workspace
from embedstore.errors import BadInputFile


def write_answers(
    workspace: Workspace, found: OpenHead, items: I64, vectors: F32, told: F32, out: Path
) -> None:
    """One row per image: id, path, patient, an answer per output; epistemic, aleatoric; the set's classes.

    Cells that a spreadsheet would run are defused.
    """
    rows: list[dict[str, Any]] = [
        {"id": int(item), **columns}
        for item, columns in zip(
            items.tolist(), workspace.catalog.columns(items, ["path", "patient"]), strict=True
        )
    ]
    for row, answer in zip(rows, told, strict=True):
        row.update(_named(found, answer))
    parts = found.head.parts(vectors)
    for name in ("epistemic", "aleatoric") if parts else ():
        for row, value in zip(rows, getattr(parts, name), strict=True):
            row.update({name: float(value)} if value.ndim == 0 else _by_output(found, value, f"{name} "))
    if found.head.task == "anomaly":
        _add_alarms(workspace, found, rows, told)
    sets = sets_of(workspace, found, items, told)
    if sets is not None:
        classes = found.head.spec.classes
        for row, member in zip(rows, sets, strict=True):
            row["set"] = " | ".join(name for name, inside in zip(classes, member, strict=True) if inside)
    try:
        with out.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(map(csv_safe, rows[0]))
            writer.writerows([csv_safe(row[name]) for name in rows[0]] for row in rows)
    except OSError as error:
        raise BadInputFile(f"{out}: cannot be written: {error.strerror}") from None


def _add_alarms(workspace: Workspace, found: OpenHead, rows: list[dict[str, Any]], told: F32) -> None:
    """The p-value of each image, and whether it is called unlike the reference."""
    calibration = found.judged_rows(workspace, found.items[found.in_calibration])
    fdr = float(found.row.details["conformal"]["alpha"])
    called = outliers(found.head, calibration, told, [row["patient"] for row in rows], fdr)
    for row, p, flagged in zip(rows, called.p, called.flagged, strict=True):
        row.update(p_value=float(p), flagged=int(flagged))


def _named(found: OpenHead, answer: F32) -> Mapping[str, float]:
    prefix = {"classes": "p ", "findings": "p ", "value": "", "anomaly": ""}[found.head.task]
    return _by_output(found, answer, prefix)


def _by_output(found: OpenHead, values: Any, prefix: str) -> dict[str, float]:
    return {
        f"{prefix}{name}": float(value) for name, value in zip(found.head.spec.classes, values, strict=True)
    }
