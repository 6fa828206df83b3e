"""What every verb works with: the catalog, loaded encoders, indexes, and which space a name means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedstore.contracts.encoder import Encoder, TowerKind
from embedstore.engine.encoders import EncoderPool, space_of, tower_of
from embedstore.engine.indexing import IndexShelf
from embedstore.engine.joint import JointShelf
from embedstore.engine.requests import EncoderChoice
from embedstore.errors import UsageError
from embedstore.settings import DEFAULT_ENCODER, Settings
from embedstore.storage.catalog import Catalog
from embedstore.storage.records import SpaceRow

_CHECK = "check"


@dataclass(frozen=True, slots=True, eq=False)
class Workspace:
    """An open store as its verbs see it.

    same_pictures: of pairs of item ids whose pixels were compared, whether they are one picture.
    """

    catalog: Catalog
    indexes: IndexShelf
    settings: Settings
    encoders: EncoderPool = field(default_factory=EncoderPool)
    joints: JointShelf = field(default_factory=JointShelf)
    same_pictures: dict[tuple[int, int], bool] = field(default_factory=dict)

    def spaces_of(self, kind: TowerKind, encoder: str | None = None) -> list[SpaceRow]:
        """Spaces that a tower of that kind answers in, newest first; of one encoder when it is named."""
        found = [
            row
            for row in self.catalog.spaces()
            if kind in row.kinds and (encoder is None or row.encoder == encoder)
        ]
        return sorted(found, key=lambda row: row.id, reverse=True)

    def space(self, kind: TowerKind, encoder: str | None = None) -> SpaceRow:
        """The space a verb works in: the named encoder's, else that of the store's first ingest.

        Raises UsageError with the encoders that are in the store.
        """
        found = [row for row in self.spaces_of(kind, encoder) if row.vectors]
        if not found:
            there = sorted(
                {row.encoder for row in self.catalog.spaces() if kind in row.kinds and row.vectors}
            )
            noun = "images" if kind == "image" else "reports"
            if encoder is not None and there:
                raise UsageError(
                    f"no {noun} in this store were embedded by '{encoder}'; there are: {', '.join(there)}"
                )
            raise UsageError(f"this store holds no embedded {noun} yet; run: embedstore ingest PATH")
        return found[0] if encoder is not None else found[-1]

    def choice_of(self, space: SpaceRow) -> EncoderChoice:
        """How the encoder of a space is loaded again."""
        return choice_from(self.catalog.provenance(space.fingerprint), space)

    def encoder_of(self, space: SpaceRow, kind: TowerKind) -> Encoder:
        """The loaded encoder of a stored space. Raises SpaceMismatch when it has changed since."""
        return self.encoders.for_space(self.choice_of(space), kind, space.fingerprint)

    def bind_space(self, choice: EncoderChoice, kind: TowerKind) -> tuple[Encoder, SpaceRow]:
        """Load an encoder and record its space, with how to load it again."""
        encoder = self.encoders.get(choice)
        tower = tower_of(encoder, kind)
        row = self.catalog.ensure_space(encoder.spec, kind)
        assert row.fingerprint == space_of(tower)
        self._note(row.fingerprint, choice_json(choice))
        return encoder, row

    def check_of(self, space: SpaceRow) -> Mapping[str, Any] | None:
        """What the check of an approximate precision found for this space, None when it was never made."""
        found: Mapping[str, Any] | None = self.catalog.provenance(space.fingerprint).get(_CHECK)
        return found

    def set_check(self, space: SpaceRow, found: Mapping[str, Any]) -> None:
        """Keep what a check found with the space it allows."""
        self._note(space.fingerprint, {_CHECK: dict(found)})

    def _note(self, fingerprint: str, facts: Mapping[str, Any]) -> None:
        self.catalog.set_provenance(fingerprint, {**self.catalog.provenance(fingerprint), **facts})

    def default_choice(self) -> EncoderChoice:
        """The encoder of the store's first images, `starter` for a store that has none."""
        found = [row for row in self.spaces_of("image") if row.vectors]
        return self.choice_of(found[-1]) if found else EncoderChoice(name=DEFAULT_ENCODER)


def choice_json(choice: EncoderChoice) -> dict[str, Any]:
    """How to load an encoder again: provenance, not identity."""
    weights = str(choice.weights.resolve()) if choice.weights else None
    found = {"name": choice.name, "weights": weights, "profile": choice.profile}
    if choice.precision != "fp32":
        found["precision"] = choice.precision
    if choice.trust is not None:
        found["trust"] = choice.trust
    return found


def choice_from(provenance: Mapping[str, Any], space: SpaceRow) -> EncoderChoice:
    """The inverse of `choice_json`; the space's own spec answers for what is missing."""
    weights = provenance.get("weights")
    return EncoderChoice(
        name=provenance.get("name") or space.encoder,
        weights=Path(weights) if weights else None,
        profile=provenance.get("profile") or space.spec.get("profile") or "default",
        precision=provenance.get("precision") or space.spec.get("precision") or "fp32",
        trust=provenance.get("trust"),
    )
