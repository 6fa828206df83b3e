"""The images of one side of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.learning.vectors import unit_rows
from embedstore.storage.filters import parse_where
from embedstore.storage.records import SpaceRow

MOST_PATIENTS = 400
MOST_IMAGES = 3  # of a patient; more of one person tell little and cost the square


@dataclass(frozen=True, slots=True, eq=False)
class ImageRows:
    """vectors: scaled to length 1, as search sees them. patients: split groups; known: they have a name."""

    items: I64
    vectors: F32
    patients: NDArray[Any]
    known: NDArray[np.bool_]

    @property
    def n_patients(self) -> int:
        """Those without an identifier count as one each."""
        return len(np.unique(self.patients))

    @property
    def n_unknown(self) -> int:
        """Patients without an identifier."""
        return len(np.unique(self.patients[~self.known]))

    def at(self, rows: Any) -> ImageRows:
        """Some of the rows."""
        return ImageRows(self.items[rows], self.vectors[rows], self.patients[rows], self.known[rows])

    def counts(self, prefix: str = "") -> dict[str, int]:
        """n images, n patients and how many of these are unknown."""
        return {
            f"{prefix}images": len(self.items),
            f"{prefix}patients": self.n_patients,
            f"{prefix}unknown_patients": self.n_unknown,
        }

    def drawn(self, seed: int, patients: int = MOST_PATIENTS, images: int = MOST_IMAGES) -> ImageRows:
        """At most so many patients with at most so many images each, at random, ascending."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self.items))
        names, codes = np.unique(self.patients[order], return_inverse=True)
        chosen = rng.permutation(len(names)) < patients
        # Its place among its patient's images, in the random order.
        by_patient = np.argsort(codes, kind="stable")
        first = np.searchsorted(codes[by_patient], codes[by_patient])
        place = np.empty(len(codes), dtype=np.int64)
        place[by_patient] = np.arange(len(codes)) - first
        return self.at(np.sort(order[chosen[codes] & (place < images)]))


def rows_of(workspace: Workspace, space: SpaceRow, where: str) -> ImageRows:
    """The images of a filter that have a vector in the space."""
    catalog = workspace.catalog
    items, vectors = catalog.item_vectors(space.id, catalog.select_items(parse_where(where), "image"))
    if not len(items):
        raise UsageError(f"no image with a vector of '{space.encoder}' passes \"{where}\"")
    known = np.array(catalog.column(items, "patient_known"), dtype=bool)
    return ImageRows(items, unit_rows(vectors), np.array(catalog.patient_groups(items)), known)
