"""Where an ingest's vectors go: the encoder and space for images, and those for reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedstore.contracts.encoder import Encoder, TowerKind
from embedstore.engine.agreements import Agreements
from embedstore.engine.encoders import show_encoder
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.workspace import Workspace, choice_json
from embedstore.errors import SpaceMismatch
from embedstore.settings import DEFAULT_ENCODER
from embedstore.storage.records import SpaceRow

_CHOSEN = ("name", "weights", "profile", "precision", "trust")


class SpaceMoved(SpaceMismatch):
    """An encoder, once loaded, answers in another space than the one recorded for it."""


class Targets:
    """Spaces by kind. A recorded space is trusted, its encoder not loaded, until there is something to embed;
    with `trust` False every encoder is loaded at once."""

    def __init__(self, workspace: Workspace, request: IngestRequest, trust: bool) -> None:
        self._workspace = workspace
        self._trust = trust
        image = request.encoder or workspace.default_choice()
        self._choices: dict[TowerKind, EncoderChoice] = {
            "image": image,
            "text": request.text_encoder or self._reader_of_texts(image),
        }
        self._spaces: dict[TowerKind, SpaceRow] = {}
        self._encoders: dict[TowerKind, Encoder] = {}
        self.notes: tuple[str, ...] = ()

    def choice(self, kind: TowerKind) -> EncoderChoice:
        """The encoder asked for."""
        return self._choices[kind]

    def space(self, kind: TowerKind) -> SpaceRow:
        """The space vectors of that kind go to."""
        row = self._spaces.get(kind)
        if row is None:
            row = self._recorded(kind) if self._trust else None
            if row is None:
                self._encoders[kind], row = self._bind(kind)
            self._spaces[kind] = row
        return row

    def encoder(self, kind: TowerKind) -> Encoder:
        """The loaded encoder. Raises SpaceMoved when it is not the one the space was made with."""
        expected = self.space(kind)
        encoder = self._encoders.get(kind)
        if encoder is None:
            encoder, row = self._bind(kind)
            if row.fingerprint != expected.fingerprint:
                raise SpaceMoved(f"encoder '{self._choices[kind].name}' changed since the store was written")
            self._encoders[kind] = encoder
        return encoder

    def _bind(self, kind: TowerKind) -> tuple[Encoder, SpaceRow]:
        choice, agreements = self._choices[kind], Agreements(self._workspace.catalog)
        agreements.require(choice)
        note = agreements.pin(choice, self._workspace.encoders.get(choice).spec)
        if note and note not in self.notes:
            self.notes = (*self.notes, note)
        return self._workspace.bind_space(choice, kind)

    def provenance(self) -> Mapping[str, Any]:
        """Both choices, to be kept with the run, with what decides speed only."""
        return {
            kind: {**choice_json(choice), "runtime": choice.runtime, "device": choice.device}
            for kind, choice in self._choices.items()
        }

    def _recorded(self, kind: TowerKind) -> SpaceRow | None:
        wanted = choice_json(self._choices[kind])
        for row in self._workspace.spaces_of(kind):
            known = self._workspace.catalog.provenance(row.fingerprint)
            if {key: value for key, value in known.items() if key in _CHOSEN} == wanted:
                return row
        return None

    def _reader_of_texts(self, image: EncoderChoice) -> EncoderChoice:
        """The image encoder itself when it has a text tower, else the one the store's reports use."""
        if show_encoder(image.name, image.profile).tower("text") is not None:
            return image
        found = [row for row in self._workspace.spaces_of("text") if row.vectors]
        return self._workspace.choice_of(found[-1]) if found else EncoderChoice(name=DEFAULT_ENCODER)
