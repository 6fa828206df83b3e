"""Bridges: learned from linked image-report pairs, recorded with their quality, and used by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedstore.contracts.image import F32
from embedstore.engine.requests import BridgeCard, BridgeRequest
from embedstore.engine.workspace import Workspace
from embedstore.errors import BridgeMissing, UsageError
from embedstore.learning.bridge import Bridge, fit_bridge
from embedstore.learning.bridge_quality import assess_bridge, require_enough
from embedstore.storage.filters import parse_where
from embedstore.storage.learned import BridgeRow, NewBridge
from embedstore.storage.records import SpaceRow


@dataclass(frozen=True, slots=True, eq=False)
class OpenBridge:
    """A recorded bridge, loaded. key: what no other bridge of the store has. summary: what an answer says."""

    key: int
    name: str
    image_space: str
    text_space: str
    anchor_patients: frozenset[str]
    summary: Mapping[str, Any]
    bridge: Bridge

    def side_of(self, space: SpaceRow) -> Callable[[F32], F32]:
        """Carries vectors of that space to the joint space."""
        image = space.fingerprint == self.image_space
        return self.bridge.images_to_joint if image else self.bridge.texts_to_joint

    def other_side(self, space: SpaceRow) -> Callable[[F32], F32]:
        """Carries vectors of the other space to the joint space."""
        image = space.fingerprint == self.image_space
        return self.bridge.texts_to_joint if image else self.bridge.images_to_joint


def fit_bridge_from_store(workspace: Workspace, request: BridgeRequest) -> BridgeCard:
    """Fit, measure and record a bridge between the store's image space and its text space.

    Raises UsageError, before anything is computed, when the store has too few linked pairs or patients, or
    when the encoder needs no bridge.
    """
    catalog = workspace.catalog
    images = workspace.space("image", request.encoder)
    if images.spec.get("shared_space"):
        raise UsageError(f"'{images.encoder}' reads images and texts in one space; it needs no bridge")
    texts = workspace.space("text", request.text_encoder)
    where = parse_where(request.where) if request.where else None
    pairs = catalog.pairs(images.id, texts.id, where)
    require_enough(len(pairs.images), len(set(pairs.patients)))
    image_vectors = catalog.item_vectors(images.id, pairs.images)[1]
    text_vectors = catalog.item_vectors(texts.id, pairs.reports)[1]
    patients = np.array(pairs.patients)
    quality = assess_bridge(
        request.kind,
        image_vectors,
        text_vectors,
        patients,
        text_ids=_same_texts(catalog.texts(pairs.reports)),
        image_ids=pairs.images,
        seed=request.seed,
    )
    bridge = fit_bridge(request.kind, image_vectors, text_vectors, patients=patients, seed=request.seed)
    with catalog.writing():
        name = request.name or _free_name(request.kind, [row.name for row in catalog.models.bridges()])
        catalog.models.save_bridge(
            NewBridge(
                name=name,
                image_space=images.fingerprint,
                text_space=texts.fingerprint,
                kind=request.kind,
                spec={**bridge.spec(), "where": request.where, "seed": request.seed},
                arrays=bridge.arrays(),
                anchors=pairs.images,
                anchor_patients=tuple(pairs.patients),
                quality=quality.to_json(),
            )
        )
    return card_of(catalog.models.bridge(name))


def _same_texts(texts: list[str]) -> list[str] | None:
    """Reports as they read, white space and case aside; None (their vectors tell) when one has no text."""
    plain = [" ".join(text.split()).casefold() for text in texts]
    return plain if all(plain) else None


def _free_name(kind: str, taken: list[str]) -> str:
    number = 1
    while f"{kind}-{number}" in taken:
        number += 1
    return f"{kind}-{number}"


def card_of(row: BridgeRow) -> BridgeCard:
    """A recorded bridge as a shell shows it."""
    return BridgeCard(
        name=row.name,
        kind=row.kind,
        image_space=row.image_space,
        text_space=row.text_space,
        anchors=int(row.spec.get("n_pairs", 0)),
        anchor_patients=len(row.anchor_patients),
        anchors_sha256=row.anchors_sha256,
        quality=row.quality,
        created=row.created,
    )


def bridge_between(workspace: Workspace, images: SpaceRow, name: str | None) -> OpenBridge:
    """The named bridge, or the newest that starts from an image space.

    Raises NotFound for an unknown name and BridgeMissing, with the remedy, when none fits.
    """
    models = workspace.catalog.models
    if name is not None:
        row = models.bridge(name)
        if row.image_space != images.fingerprint:
            raise BridgeMissing(
                f"bridge '{name}' was learned for other image vectors than '{images.encoder}'"
            )
        return _open(workspace, row)
    for row in models.bridges():
        if row.image_space == images.fingerprint:
            return _open(workspace, models.bridge(row.name))
    raise BridgeMissing(
        f"'{images.encoder}' has no text tower in its image space, and no bridge joins its images to texts; "
        "ingest reports with --reports, then run: embedstore bridge fit"
    )


def _open(workspace: Workspace, row: BridgeRow) -> OpenBridge:
    arrays = workspace.catalog.models.bridge_arrays(row.name)
    card = card_of(row)
    return OpenBridge(
        key=row.id,
        name=row.name,
        image_space=row.image_space,
        text_space=row.text_space,
        anchor_patients=frozenset(row.anchor_patients) | _whose_now(workspace, row),
        summary={"name": row.name, "kind": row.kind, "anchors": card.anchors, "quality": row.quality},
        bridge=Bridge.restore(row.spec, arrays),
    )


def _whose_now(workspace: Workspace, row: BridgeRow) -> frozenset[str]:
    """Patients of the anchors by what is known today: a table may have named them since the fit."""
    return frozenset(workspace.catalog.patient_groups(row.anchors))
