"""Where labels come from, as a file: every vote ever cast, so that another store can cast them again.

JSON lines. The first is about the label set and how its labels were fused; each other one is a vote on an
image, which is named by its bytes and part, for that is its name in every store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from embedstore.contracts.labels import LabelSet
from embedstore.engine.workspace import Workspace
from embedstore.errors import BadInputFile, NotFound, UsageError
from embedstore.storage.learned import VoteEvent

FORMAT = "embedstore label provenance 1"
SUFFIX = ".jsonl"
_TEXTS = ("sha256", "part", "voter", "version", "code_sha256", "input_sha256", "created")


def provenance_lines(workspace: Workspace, label_set: str) -> Iterator[str]:
    """The file's lines."""
    labels = workspace.catalog.labels
    found = labels.label_set(label_set)
    yield _line(
        {
            "format": FORMAT,
            "label_set": found.name,
            "classes": found.classes,
            "model": _model(workspace, found),
        }
    )
    events = labels.history(label_set)
    items = {one.id: one for one in workspace.catalog.items(sorted({event.item_id for event in events}))}
    for event in events:
        item = items[event.item_id]
        yield _line(
            {
                "sha256": item.sha256,
                "part": item.part,
                "label": found.classes[event.value] if event.value >= 0 else None,
                "probability": event.probability,
                "voter": event.voter,
                "version": event.voter_version,
                "code_sha256": event.code_sha256,
                "input_sha256": event.input_sha256,
                "created": event.created,
                "superseded": event.superseded,
            }
        )


def _model(workspace: Workspace, label_set: LabelSet) -> Mapping[str, Any] | None:
    try:
        row = workspace.catalog.labels.label_model(label_set.name)
    except NotFound:
        return None
    options = {name: row.params[name] for name in ("silence", "soft", "given_prior") if name in row.params}
    return {"kind": row.kind, "created": row.created, **options}


def _line(told: Mapping[str, Any]) -> str:
    return json.dumps(told, ensure_ascii=True, sort_keys=True) + "\n"


def is_provenance(path: Path) -> bool:
    """Whether a file is one of these."""
    if path.suffix != SUFFIX:
        return False
    with path.open(encoding="utf-8", errors="replace") as stream:
        return FORMAT in stream.readline()


def replay(workspace: Workspace, path: Path) -> tuple[str, int, int]:
    """Cast the votes of a file again: (label set, votes written, votes on images that are not here).

    Raises BadInputFile naming the line.
    """
    with path.open(encoding="utf-8") as stream:
        rows = list(_rows(stream, path))
    head, votes = rows[0], rows[1:]
    try:
        label_set = LabelSet(name=str(head["label_set"]), classes=tuple(map(str, head["classes"])))
    except (KeyError, TypeError):
        raise BadInputFile(f"{path}, line 1: names no label set") from None
    catalog = workspace.catalog
    at = catalog.find_items({(row["sha256"], row["part"]) for row in votes})
    if votes and not at:
        raise UsageError(f"{path}: none of its images is in this store; ingest them first")
    here = [row for row in votes if (row["sha256"], row["part"]) in at]
    index = {name: number for number, name in enumerate(label_set.classes)}
    events = [_event(row, at[row["sha256"], row["part"]], index, path) for row in here]
    with catalog.writing():
        catalog.labels.ensure_label_set(label_set)
        written = catalog.labels.restore(label_set.name, events)
    return label_set.name, written, len(votes) - len(here)


def _rows(lines: Iterable[str], path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or (
            number > 1 and not all(isinstance(row.get(name), str) for name in _TEXTS)
        ):
            raise BadInputFile(f"{path}, line {number}: is not a vote as embedstore writes it")
        yield row


def _event(row: Mapping[str, Any], item: int, index: Mapping[str, int], path: Path) -> VoteEvent:
    label = row.get("label")
    if label is not None and label not in index:
        raise BadInputFile(f"{path}: '{label}' is not one of its classes ({', '.join(index)})")
    sure = row.get("probability")
    return VoteEvent(
        item_id=item,
        value=-1 if label is None else index[label],
        voter=row["voter"],
        voter_version=row["version"],
        probability=None if sure is None else float(sure),
        input_sha256=row["input_sha256"],
        code_sha256=row["code_sha256"],
        created=row["created"],
        superseded=bool(row.get("superseded")),
    )
