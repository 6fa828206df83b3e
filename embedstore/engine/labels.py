"""Weak labels: votes collected from voters, kept with who, which version and on what."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.contracts.image import I64
from embedstore.contracts.labels import ABSTAIN, LabelBatch, Vote
from embedstore.engine.fusing import label_report
from embedstore.engine.grouping import in_groups
from embedstore.engine.requests import LabelSetCard, Progress, VoteRequest
from embedstore.engine.voters import Voter, load_voters
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.fingerprint import digest
from embedstore.learning.judging import ask
from embedstore.learning.vectors import arrays_sha256
from embedstore.storage.filters import parse_where

_TOGETHER = 4096
METADATA = ("patient", "path", "modality", "body_part", "laterality", "view", "label", "site", "split")


def run_votes(workspace: Workspace, request: VoteRequest, progress: Progress) -> LabelSetCard:
    """Let every voter of the file vote on the images; votes keep who, which version and on what."""
    catalog = workspace.catalog
    label_set, voters = load_voters(
        workspace, request.voters, request.label_set, request.encoder, request.trust_code
    )
    where = parse_where(request.where) if request.where else None
    items = catalog.select_items(where, "image")
    if not len(items):
        raise UsageError("no image to vote on; widen --where")
    with catalog.writing():
        catalog.labels.ensure_label_set(label_set)
        code = {voter.name: code_sha256(voter.function) for voter in voters}
        run = catalog.begin_run("label run", {"label_set": label_set.name, "code_sha256": code})
        saved = 0
        for group in in_groups(items.tolist(), _TOGETHER):
            for voter in voters:
                saved += catalog.labels.save_votes(
                    _cast(workspace, label_set.name, voter, group, request.encoder), run
                )
            progress("voting", saved, None)
        catalog.end_run(run, {"votes": saved})
    card = label_report(workspace, label_set.name, None)
    notes = [f"voter '{voter.name}': {note}" for voter in voters for note in voter.notes]
    return replace(card, warnings=(*notes, *card.warnings))


def _cast(
    workspace: Workspace, label_set: str, voter: Voter, group: list[int], encoder: str | None
) -> list[Vote]:
    """Votes on a group of items, abstentions included: that a voter looked is part of the record."""
    items = np.array(group, np.int64)
    function = voter.function
    vectors = None
    if "vectors" in function.needs:
        items, vectors = workspace.catalog.item_vectors(workspace.space("image", encoder).id, items)
    if not len(items):
        return []
    texts = workspace.catalog.texts(items)
    columns = _columns(workspace, items, function)
    batch = LabelBatch(item_ids=items, texts=texts, columns=columns, vectors=vectors)
    values, probabilities = ask(function, batch, voter.name)
    if voter.barred:
        own = [patient in voter.barred for patient in workspace.catalog.patient_groups(items)]
        values = np.where(np.array(own, bool), ABSTAIN, values)
    return [
        Vote(
            item_id=int(item),
            label_set=label_set,
            value=int(value),
            voter=voter.name,
            voter_version=function.version,
            probability=None if value == ABSTAIN or np.isnan(sure) else float(sure),
            input_sha256=_looked_at(batch, n, function.needs),
        )
        for n, (item, value, sure) in enumerate(zip(items, values, probabilities, strict=True))
    ]


def _looked_at(batch: LabelBatch, row: int, needs: frozenset[str]) -> str:
    """Digest of what decided a vote, as far as the store knows: the text, the metadata, the vector."""
    seen: list[Any] = []
    if "report" in needs:
        seen.append(batch.texts[row])
    if "metadata" in needs:
        seen.append({name: value for name, value in batch.columns[row].items() if name != "path"})
    if "vectors" in needs and batch.vectors is not None:
        seen.append(arrays_sha256(batch.vectors[row]))
    return digest(seen[0] if needs == {"report"} else seen) if seen else ""


def code_sha256(function: Any) -> str:
    """Hash of the code behind a voter: its own if it says so, else the file its class is defined in."""
    told = getattr(function, "code_sha256", None)
    if told:
        return str(told)
    file = getattr(sys.modules.get(type(function).__module__), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def _columns(workspace: Workspace, items: I64, function: Any) -> Sequence[Mapping[str, Any]]:
    if "metadata" not in function.needs:
        return [{}] * len(items)
    asked = [getattr(function, "column", ""), *getattr(function, "columns", ())]
    names = list(dict.fromkeys([*METADATA, *filter(None, asked)]))
    columns = workspace.catalog.columns(items, names)
    # A patient, to a voter, is whom a split may not divide.
    groups = workspace.catalog.patient_groups(items)
    return [{**row, "patient": patient} for row, patient in zip(columns, groups, strict=True)]
