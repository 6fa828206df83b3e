"""The work of an ingest: decode and preprocess on one thread, the forward pass on another, in any process."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from embedstore.contracts.encoder import Encoder, StagedEncoder
from embedstore.contracts.image import F32, ImageInput
from embedstore.contracts.record import Asset
from embedstore.engine.encoders import load_encoder, tower_of
from embedstore.engine.requests import EncoderChoice
from embedstore.errors import EmbedstoreError, ReadFailure, UsageError
from embedstore.readers.choose import ReaderSet
from embedstore.settings import Limits


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Images that are decoded and encoded together: all that crosses to a worker."""

    number: int
    assets: tuple[Asset, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one asset of a task has no vector. stage: "read" or "encode"."""

    position: int
    stage: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Vectors of the assets at `positions` of a task, and what went wrong with the others."""

    positions: tuple[int, ...]
    vectors: F32
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    positions: list[int]
    inputs: list[ImageInput] | list[F32]
    refusals: list[Refusal]


@dataclass(frozen=True)
class EmbedWork:
    """All a process needs to build its reader and encoder. encoder: one already loaded in this process."""

    choice: EncoderChoice
    limits: Limits
    encoder: Encoder | None = field(default=None, compare=False)

    def start(self) -> EmbedWorker:
        """Build the worker of this process."""
        encoder = self.encoder if self.encoder is not None else load_encoder(self.choice)
        return EmbedWorker(ReaderSet.installed(self.limits), encoder)


class EmbedWorker:
    """Turns tuples of assets into vectors; one bad asset is one refusal."""

    def __init__(self, readers: ReaderSet, encoder: Encoder) -> None:
        self._readers = readers
        self._encoder = encoder
        self._wants = tower_of(encoder, "image").wants

    def prepare(self, task: Task) -> _Prepared:
        """Read, and preprocess where the encoder lets that be done apart."""
        prepared = _Prepared([], [], [])
        staged = self._encoder if isinstance(self._encoder, StagedEncoder) else None
        for position, asset in enumerate(task.assets):
            try:
                image = ImageInput(self._readers.read(asset, self._wants))
                prepared.inputs.append(staged.prepare_image(image) if staged else image)  # type: ignore[arg-type]
                prepared.positions.append(position)
            except ReadFailure as failure:
                prepared.refusals.append(Refusal(position, "read", failure.reason))
            except EmbedstoreError as error:
                prepared.refusals.append(Refusal(position, "preprocess", str(error)))
            except MemoryError:
                prepared.refusals.append(Refusal(position, "read", "too large for this machine's memory"))
            except Exception as error:  # a decoder's own error may quote the file: only its kind is kept
                prepared.refusals.append(Refusal(position, "read", f"unreadable ({type(error).__name__})"))
        return prepared

    def complete(self, prepared: _Prepared) -> Embedded:
        """The forward pass, and the refusal of vectors that are zero or not finite."""
        if not prepared.positions:
            return Embedded((), np.zeros((0, 0), np.float32), tuple(prepared.refusals))
        vectors = self._forward(prepared.inputs)
        usable = np.isfinite(vectors).all(axis=1) & (np.abs(vectors).max(axis=1) > 0)
        refusals = [
            Refusal(position, "encode", "the encoder gave a vector that is zero or not finite")
            for position, good in zip(prepared.positions, usable, strict=True)
            if not good
        ]
        positions = tuple(p for p, good in zip(prepared.positions, usable, strict=True) if good)
        return Embedded(positions, vectors[usable], tuple(prepared.refusals + refusals))

    def _forward(self, inputs: list[ImageInput] | list[F32]) -> F32:
        if not isinstance(self._encoder, StagedEncoder):
            return self._encoder.encode_images(inputs)  # type: ignore[arg-type]
        shapes = {np.shape(one) for one in inputs}  # type: ignore[arg-type]
        if len(shapes) != 1:
            raise UsageError("the encoder's recipe gives inputs of different sizes; its plugin is broken")
        size = self._encoder.batch_size
        batches = [np.stack(inputs[i : i + size]) for i in range(0, len(inputs), size)]  # type: ignore[arg-type]
        return np.concatenate([self._encoder.forward_images(batch) for batch in batches])
