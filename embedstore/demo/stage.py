"""What every chapter of the story needs: store, films with their truth, pictures, pixel baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.query import Item
from embedstore.contracts.record import Asset
from embedstore.demo.anatomy import FINDINGS
from embedstore.demo.cohort import Cohort
from embedstore.demo.gather import Gathered
from embedstore.engine.requests import Progress
from embedstore.engine.store import Store
from embedstore.evaluation.baseline import pixel_features
from embedstore.learning.heads.logistic import fit_logistic
from embedstore.pages.records import Chip, Tile
from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import source_at
from embedstore.settings import Limits

SITE_A, SITE_B = "site = 'A'", "site = 'B'"
LABELLED_SHARE = 0.3
PICTURE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Films:
    """The cohort as the store holds it.

    truth: finding to (n,) 0/1. pixels: (n, 34) grey-value statistics. grey: finding to (n,) probabilities by
    the pixel baseline, a logistic regression on `pixels` fitted to the truth of site A.
    """

    items: tuple[Item, ...]
    truth: Mapping[str, NDArray[np.int64]]
    sites: NDArray[np.str_]
    patients: NDArray[np.str_]
    pixels: NDArray[np.float32]
    grey: Mapping[str, NDArray[np.float32]]

    def position(self) -> dict[int, int]:
        """Item id to row."""
        return {item.id: row for row, item in enumerate(self.items)}

    def rows(self, site: str) -> NDArray[np.int64]:
        """Rows of one site."""
        return np.flatnonzero(self.sites == site)


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """The setting of the story."""

    folder: Path
    store: Store
    cohort: Cohort
    gathered: Gathered
    progress: Progress

    @property
    def last_labelled(self) -> str:
        """Patients of site B up to this one count as labelled by hand; they are never scored."""
        return f"SYN-B-{self.n_labelled:04d}"

    @property
    def n_labelled(self) -> int:
        """How many patients of site B count as labelled by hand."""
        return max(1, int(LABELLED_SHARE * self.cohort.n_patients / 2))

    @property
    def labelled_b(self) -> str:
        """The films of site B whose truth may be used to calibrate and to vote."""
        return f"{SITE_B} and patient_id <= '{self.last_labelled}'"

    @property
    def rest_of_b(self) -> str:
        """The films of site B that are scored."""
        return f"{SITE_B} and patient_id > '{self.last_labelled}'"

    def picture(self, item: Item) -> bytes | None:
        """A JPEG of an image in the store for the page; None when it cannot be read now."""
        return self.store.thumbnail(item.id, PICTURE, "jpeg")


def load_films(store: Store, progress: Progress) -> Films:
    """The cohort's images with truth and pixel statistics, in the order of their ids."""
    items = tuple(store.items("kind = 'image' and site in ('A', 'B')"))
    readers = ReaderSet.installed()
    pixels = []
    for done, item in enumerate(items):
        pixels.append(_pixels(readers, item))
        progress("pixel statistics for the baseline", done + 1, len(items))
    truth = {name: np.array([int(item.extra[name]) for item in items], np.int64) for name in FINDINGS}
    sites = np.array([str(item.columns["site"]) for item in items])
    patients = np.array([item.patient for item in items])
    features = np.stack(pixels)
    taught = sites == "A"
    grey = {
        name: fit_logistic(
            features[taught],
            truth[name][taught],
            patients[taught],
            name=f"{name} by pixels",
            space="pixel statistics",
            target=name,
            classes=("0", "1"),
        ).predict(features)[:, 1]
        for name in FINDINGS
    }
    return Films(items, truth, sites, patients, features, grey)


def _pixels(readers: ReaderSet, item: Item) -> NDArray[np.float32]:
    source = source_at(item.path, Limits())
    asset = next(found for found in readers.describe(source) if isinstance(found, Asset))
    return pixel_features(readers.read(asset, "display").pixels)


def finding_words(extra: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(finding, what to write of it) of a film's true findings: `("effusion", "right effusion")`."""
    words = []
    for name in FINDINGS:
        if str(extra.get(name, 0)) == "1":
            side = extra.get(f"{name}_side")
            words.append((name, f"{side} {name}" if side else name))
    return words


def film_tile(
    item: Item, picture: bytes | None, *, wanted: str | None = None, score: float | None = None
) -> Tile:
    """A film with its true findings; `wanted` is the finding that should be there."""
    found = finding_words(item.extra)
    chips = [Chip(text=words, tone="yes" if name == wanted else "plain") for name, words in found]
    if wanted is not None and wanted not in dict(found):
        chips.append(Chip(text=f"no {wanted}", tone="no"))
    elif not found:
        chips.append(Chip(text="no finding"))
    columns = item.columns
    lines = (str(columns["institution"]), f"{columns['modality']}, {columns['model']}")
    return Tile(image=picture, title=str(columns["patient_id"]), lines=lines, chips=tuple(chips), score=score)
