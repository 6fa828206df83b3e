"""What an approximate precision has to pass on the user's own images before its vectors are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embedstore.contracts.encoder import ApproximateEncoder, Encoder
from embedstore.contracts.image import F32
from embedstore.errors import Refused, UsageError

APPROXIMATE = ("int8",)
IMAGES = 256
FEWEST = 32
NEIGHBOURS = 10
COSINE = 0.99
OVERLAP = 0.95


class PrecisionCheck:
    """Collects the vectors of the first images in both precisions, and judges them.

    cosine: mean over images between the two vectors, the mean exact vector taken from both, so that what all
    images have in common does not flatter. overlap: share of an image's ten nearest others (by cosine, as a
    search ranks) that are the same in both precisions.
    """

    def __init__(self, encoder: Encoder) -> None:
        """Raises UsageError for an encoder that cannot say what fp32 would have given."""
        if not isinstance(encoder, ApproximateEncoder):
            raise UsageError(
                f"encoder '{encoder.spec.name}' cannot compare {encoder.spec.precision} with fp32; use fp32"
            )
        self._encoder = encoder
        self._exact: list[F32] = []
        self._found: list[F32] = []
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether enough images were seen."""
        return self._count >= IMAGES

    def see(self, inputs: F32, found: F32) -> None:
        """Prepared inputs (n, ...) and their (n, dim) vectors; more than enough are not looked at."""
        if not self.full:
            self._exact.append(self._encoder.exact_images(inputs))
            self._found.append(found)
            self._count += len(found)

    def judge(self) -> Mapping[str, Any]:
        """What was found, as JSON values. Raises Refused when it falls short, UsageError for few images."""
        precision = self._encoder.spec.precision
        if self._count < FEWEST:
            raise UsageError(
                f"{precision} is checked on your own images before its vectors are kept, and "
                f"{self._count} are too few ({FEWEST} at least); ingest these with --precision fp32"
            )
        exact, found = np.concatenate(self._exact), np.concatenate(self._found)
        cosine, overlap = agreement(exact, found)
        if not (cosine >= COSINE and overlap >= OVERLAP):
            raise Refused(
                f"{precision} changes this encoder's vectors too much on your images: centred cosine "
                f"{cosine:.4f} (at least {COSINE}), top-{NEIGHBOURS} overlap {overlap:.3f} (at least "
                f"{OVERLAP}) over {self._count} images; nothing was kept, ingest with --precision fp32"
            )
        return {
            "precision": precision,
            "against": "fp32",
            "images": self._count,
            "centred_cosine": round(cosine, 6),
            "top_10_overlap": round(overlap, 6),
        }


def agreement(exact: F32, found: F32) -> tuple[float, float]:
    """(mean centred cosine, mean top-10 overlap) of two (n, dim) arrays whose rows are of the same images."""
    centre = exact.mean(axis=0)
    cosine = float((_units(exact - centre) * _units(found - centre)).sum(axis=1).mean())
    nearest = [_nearest(_units(rows)) for rows in (exact, found)]
    shared = [len(set(a) & set(b)) / len(a) for a, b in zip(*nearest, strict=True)]
    return cosine, float(np.mean(shared))


def _units(rows: F32) -> F32:
    units: F32 = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return units


def _nearest(units: F32) -> list[list[int]]:
    scores = units @ units.T
    np.fill_diagonal(scores, -np.inf)
    order: list[list[int]] = np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS].tolist()
    return order
