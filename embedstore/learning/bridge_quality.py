"""How well a bridge finds the image by its report, on patients it has not seen.

A hit is an image whose report reads the same as the query's: when ten patients share the sentence "No acute
disease", none of the ten is a wrong answer. Chance takes the same view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, I64, Groups, finite_or_none, group_codes, same_length
from embedstore.evaluation.intervals import BOOTSTRAP, RESAMPLES, Estimate, bootstrap_mean
from embedstore.evaluation.splits import patient_folds, refuse_leakage
from embedstore.learning.bridge import Bridge, BridgeKind, fit_bridge
from embedstore.learning.retrieval import chance_of_a_hit, hits_at_k
from embedstore.learning.vectors import checked_rows, same_directions, same_rows

FEWEST_MEASURED = 20
_FEWEST_PATIENTS = 3  # one held out, and two left to choose parameters on
_K = 10
_FEW_PAIRS = 500
_REPEATS = 5
_INTERVALS = ("interval", "r_at_1_interval", "shuffled_interval")
_BACKED = {"level": 0.95, "method": BOOTSTRAP}


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeQuality:
    """Recall of the query report's image among the first 10, on held-out patients.

    interval: patient-clustered 95 %, of r_at_10; r_at_1_interval likewise. chance: of a random order.
    shuffled_control, shuffled_interval: the same recall of a bridge fitted to pairs whose reports were dealt
    out among patients. pool: images searched (mean over folds). n_patients: whose reports were asked for.
    """

    r_at_10: float
    interval: tuple[float, float]
    r_at_1: float
    chance: float
    shuffled_control: float
    shuffled_interval: tuple[float, float]
    n_pairs: int
    n_queries: int
    n_patients: int
    pool: float
    note: str = ""
    r_at_1_interval: tuple[float, float] = (float("nan"), float("nan"))

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null. Of a ranking there are no positives."""
        plain = asdict(self) | {"n_images": self.n_pairs, "n_positives": None, **_BACKED}
        for name in ("r_at_10", "r_at_1", "chance", "shuffled_control", "pool"):
            plain[name] = finite_or_none(plain[name])
        for name in _INTERVALS:
            plain[name] = [finite_or_none(end) for end in plain[name]]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> BridgeQuality:
        """The quality that gave this JSON object."""
        named = {field.name for field in fields(cls)}
        known: dict[str, Any] = {
            k: float("nan") if value is None else value for k, value in plain.items() if k in named
        }
        for name in set(_INTERVALS) & set(known):
            low, high = (float("nan") if end is None else float(end) for end in plain[name])
            known[name] = (low, high)
        return cls(**known)


@dataclass(frozen=True, slots=True, eq=False)
class _PairSet:
    """Pairs row by row; text_ids and image_ids tell which texts and images are the same."""

    images: F32
    texts: F32
    people: I64
    text_ids: I64
    image_ids: I64

    @classmethod
    def of(
        cls, images: NDArray[Any], texts: NDArray[Any], patients: Groups, text_ids: Any, image_ids: Any
    ) -> _PairSet:
        found, said = checked_rows(images, "images"), checked_rows(texts, "texts")
        same = group_codes(text_ids) if text_ids is not None else same_directions(said)
        shown = group_codes(image_ids) if image_ids is not None else same_rows(found)
        same_length(images=found, texts=said, patients=patients, text_ids=same, image_ids=shown)
        return cls(found, said, group_codes(patients), same, shown)

    def take(self, rows: I64) -> _PairSet:
        return _PairSet(*(part[rows] for part in self._parts()))

    def dealt(self, seed: int) -> _PairSet:
        """The same with the texts dealt out at random, so that no pair is true but by luck."""
        order = np.random.default_rng(seed).permutation(len(self.texts))
        return _PairSet(self.images, self.texts[order], self.people, self.text_ids[order], self.image_ids)

    def _parts(self) -> Iterator[Any]:
        yield from (self.images, self.texts, self.people, self.text_ids, self.image_ids)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Per query: hit among 10, hit at 1, chance of a hit among 10, patient; and the number of images."""

    at_10: F64
    at_1: F64
    chance: F64
    people: I64
    pool: int


def retrieval_quality(
    bridge: Bridge,
    images: NDArray[Any],
    texts: NDArray[Any],
    patients: Groups,
    *,
    text_ids: Groups | None = None,
    image_ids: Groups | None = None,
    shuffled: Bridge | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> BridgeQuality:
    """Quality of a bridge on n pairs that it has not seen (see `refuse_anchor_patients`).

    text_ids, image_ids: (n,) equal where reports read the same, images are the same; default: equal vectors.
    shuffled: a bridge fitted to shuffled pairs; without one, the control asks for another report's images.
    """
    pairs = _PairSet.of(images, texts, patients, text_ids, image_ids)
    found = _retrieve(bridge, pairs)
    control = _retrieve(shuffled, pairs) if shuffled is not None else _retrieve(bridge, pairs.dealt(seed))
    return _quality([found], [control], len(pairs.texts), seed, resamples)


def assess_bridge(
    kind: BridgeKind,
    images: NDArray[Any],
    texts: NDArray[Any],
    patients: Groups,
    *,
    text_ids: Groups | None = None,
    image_ids: Groups | None = None,
    folds: int = 5,
    repeats: int | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> BridgeQuality:
    """Quality of a kind of bridge by cross-validation over patients: what to record beside `fit_bridge`.

    In each fold a bridge is fitted to the other patients' pairs (parameters chosen there, too), and another
    to the same pairs shuffled; both search the images of the held-out patients by their reports. repeats: how
    often the folds are drawn anew; by default 5 times when there are fewer than 500 pairs, whose result hangs
    on the draw, else once. Raises UsageError when there are too few pairs or patients.
    """
    pairs = _PairSet.of(images, texts, patients, text_ids, image_ids)
    n_people = len(np.unique(pairs.people))
    require_enough(len(pairs.texts), n_people)
    times = repeats or (_REPEATS if len(pairs.texts) < _FEW_PAIRS else 1)
    found: list[_Found] = []
    control: list[_Found] = []
    for draw in range(seed, seed + times):
        right, wrong = _one_draw(kind, pairs, min(folds, n_people), draw)
        found += right
        control += wrong
    return _quality(found, control, len(pairs.texts), seed, resamples, times)


def require_enough(n_pairs: int, n_patients: int) -> None:
    """Raise UsageError, with the remedy, when a bridge over so many pairs could not be measured."""
    if n_pairs < FEWEST_MEASURED or n_patients < _FEWEST_PATIENTS:
        raise UsageError(
            f"{n_pairs} image-report pairs of {n_patients} patients are too few for a bridge: "
            f"it takes at least {FEWEST_MEASURED} pairs of {_FEWEST_PATIENTS} patients, "
            "some of them held out to measure it; ingest reports with --reports CSV, joined to images "
            "by path, SOP or study UID, or widen --where"
        )


def _one_draw(kind: BridgeKind, pairs: _PairSet, folds: int, seed: int) -> tuple[list[_Found], list[_Found]]:
    """What true and shuffled bridges find on each fold's held-out patients."""
    fold_of = patient_folds(pairs.people, folds, seed=seed)
    found: list[_Found] = []
    control: list[_Found] = []
    for fold in range(folds):
        known, held = pairs.take(np.flatnonzero(fold_of != fold)), pairs.take(np.flatnonzero(fold_of == fold))
        lies = known.dealt(seed + fold)
        for seen, results in ((known, found), (lies, control)):
            bridge = fit_bridge(kind, seen.images, seen.texts, patients=seen.people, seed=seed)
            results.append(_retrieve(bridge, held))
    return found, control


def refuse_anchor_patients(anchor_patients: Groups, scored_patients: Groups) -> None:
    """Raise LeakageRefused when a patient to be scored is among the pairs a bridge was fitted to."""
    refuse_leakage(anchor_patients, scored_patients, what="the bridge (as anchor) and the scoring")


def _retrieve(bridge: Bridge, pairs: _PairSet) -> _Found:
    """Ask for each distinct (text, patient); candidates are the distinct images."""
    candidates = np.unique(pairs.image_ids, return_index=True)[1]
    asked = np.unique(np.stack([pairs.text_ids, pairs.people]), axis=1, return_index=True)[1]
    scores = bridge.scores(pairs.texts[asked], pairs.images[candidates])
    n_texts = int(pairs.text_ids.max()) + 1
    described = np.zeros((len(candidates), n_texts), dtype=bool)
    column = np.searchsorted(pairs.image_ids[candidates], pairs.image_ids)
    described[column, pairs.text_ids] = True
    relevant = described[:, pairs.text_ids[asked]].T
    return _Found(
        at_10=hits_at_k(scores, relevant, _K),
        at_1=hits_at_k(scores, relevant, 1),
        chance=chance_of_a_hit(len(candidates), relevant.sum(axis=1).astype(np.float64), _K),
        people=pairs.people[asked],
        pool=len(candidates),
    )


def _quality(
    found: list[_Found], control: list[_Found], n_pairs: int, seed: int, resamples: int, times: int = 1
) -> BridgeQuality:
    people = np.concatenate([part.people for part in found])
    estimate = _mean("r_at_10", found, [part.at_10 for part in found], seed, resamples)
    first = _mean("r_at_1", found, [part.at_1 for part in found], seed, resamples)
    shuffled = _mean("shuffled r_at_10", control, [part.at_10 for part in control], seed, resamples)
    return BridgeQuality(
        r_at_10=estimate.value,
        interval=(estimate.low, estimate.high),
        r_at_1=first.value,
        r_at_1_interval=(first.low, first.high),
        chance=float(np.concatenate([part.chance for part in found]).mean()),
        shuffled_control=shuffled.value,
        shuffled_interval=(shuffled.low, shuffled.high),
        n_pairs=n_pairs,
        n_queries=len(people) // times,
        n_patients=estimate.n_patients,
        pool=float(np.mean([part.pool for part in found])),
        note=estimate.note,
    )


def _mean(name: str, parts: list[_Found], hits: list[F64], seed: int, resamples: int) -> Estimate:
    people = np.concatenate([part.people for part in parts])
    return bootstrap_mean(name, np.concatenate(hits), people, seed=seed, resamples=resamples)
