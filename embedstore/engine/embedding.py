"""The forward pass of an ingest, in this process or in each of a pool's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import compress

import numpy as np

from embedstore.contracts.encoder import Encoder, PortableEncoder, StagedEncoder
from embedstore.contracts.executor import Done, Executor, Failed
from embedstore.contracts.image import F32, ImageInput
from embedstore.contracts.region import Extent
from embedstore.engine.encoders import load_encoder, tower_of
from embedstore.engine.pace import Pace
from embedstore.engine.precision import PrecisionCheck
from embedstore.engine.reading import Decoder, DecodeWork, Preparation, Prepared, Refusal, Task
from embedstore.engine.requests import EncoderChoice
from embedstore.errors import UsageError
from embedstore.execution.outcomes import one_line
from embedstore.settings import Limits


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Vectors of the subjects at `positions` of a task, and what went wrong with the others.

    extents: see `Prepared`.
    """

    positions: tuple[int, ...]
    vectors: F32
    extents: tuple[Extent | None, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True)
class EmbedWork:
    """All a process needs to build its own reader and encoder."""

    choice: EncoderChoice
    limits: Limits

    def start(self) -> EmbedWorker:
        """Build the worker of this process."""
        encoder = load_encoder(self.choice, shared=True)
        return EmbedWorker(decoding(encoder, self.limits).start(), Forward(encoder))


class EmbedWorker:
    """Decodes on one thread, encodes on another."""

    def __init__(self, decoder: Decoder, forward: Forward) -> None:
        self._decoder = decoder
        self._forward = forward

    def prepare(self, task: Task) -> Prepared:
        """See `Decoder.prepare`."""
        return self._decoder.prepare(task)

    def complete(self, prepared: Prepared) -> Embedded:
        """See `Forward.embed`."""
        return self._forward.embed(prepared)


def decoding(encoder: Encoder, limits: Limits) -> DecodeWork:
    """The work that comes before the forward pass of `encoder`."""
    preparation: Preparation | None = None
    if isinstance(encoder, PortableEncoder):
        preparation = encoder.preparation
    return DecodeWork(limits, tower_of(encoder, "image").wants, preparation)


def embed_beside(
    forward: Forward, limits: Limits, reading: Executor, tasks: Iterable[Task]
) -> Iterator[Done[Task, Embedded] | Failed[Task]]:
    """The forward pass in the thread that iterates, on what `reading` has decoded meanwhile."""
    outcomes = iter(reading.run(decoding(forward.encoder, limits), tasks))
    while True:
        with forward.pace.waiting():
            outcome = next(outcomes, None)
        if outcome is None:
            return
        if isinstance(outcome, Failed):
            yield outcome
            continue
        try:
            yield Done(outcome.task, forward.embed(outcome.result))
        except Exception as error:
            yield Failed(outcome.task, one_line(error))


class Forward:
    """From prepared inputs to usable vectors. check: is shown them while it lasts. pace: told of waiting."""

    def __init__(
        self, encoder: Encoder, check: PrecisionCheck | None = None, pace: Pace | None = None
    ) -> None:
        self.encoder = encoder
        self.pace = pace or Pace()
        self._check = check

    def embed(self, prepared: Prepared) -> Embedded:
        """The forward pass, and the refusal of vectors that are zero or not finite."""
        if not prepared.positions:
            return Embedded((), np.zeros((0, 0), np.float32), (), prepared.refusals)
        vectors = self._forward(prepared.inputs)
        usable = np.isfinite(vectors).all(axis=1) & (np.abs(vectors).max(axis=1) > 0)
        refusals = [
            Refusal(position, "encode", "the encoder gave a vector that is zero or not finite")
            for position, good in zip(prepared.positions, usable, strict=True)
            if not good
        ]
        positions = tuple(compress(prepared.positions, usable))
        extents = tuple(compress(prepared.extents, usable))
        return Embedded(positions, vectors[usable], extents, (*prepared.refusals, *refusals))

    def _forward(self, inputs: tuple[F32, ...] | tuple[ImageInput, ...]) -> F32:
        tensors = [one for one in inputs if isinstance(one, np.ndarray)]
        if len(tensors) != len(inputs) or not isinstance(self.encoder, StagedEncoder):
            return self.encoder.encode_images([one for one in inputs if isinstance(one, ImageInput)])
        if len({one.shape for one in tensors}) != 1:
            raise UsageError("the encoder's recipe gives inputs of different sizes; its plugin is broken")
        size = self.encoder.batch_size
        batches = [np.stack(tensors[i : i + size]) for i in range(0, len(tensors), size)]
        return np.concatenate([self._checked(batch, self.encoder.forward_images(batch)) for batch in batches])

    def _checked(self, batch: F32, vectors: F32) -> F32:
        if self._check is not None:
            self._check.see(batch, vectors)
        return vectors
