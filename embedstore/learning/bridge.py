"""A bridge joins an image space and a text space by pairs of images and their reports.

Two kinds. "asif": relative representations, nothing is trained (Norelli et al., ASIF: Coupled Data Turns
Unimodal Models to Multimodal Without Training, 2022): an item is described by its likeness to each paired
image (or text), of which the k largest are kept and raised to a power. "ridge": a linear map from images to
texts in closed form. Both centre each space on the pairs first: encoders that were not trained for cosines
crowd their vectors into a narrow cone, where every likeness is alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32
from embedstore.errors import StoreDamaged, UsageError
from embedstore.evaluation.arrays import Groups
from embedstore.learning.bridge_fit import choose_asif, relative, solve_ridge
from embedstore.learning.vectors import arrays_sha256, checked_rows, unit_rows

BridgeKind = Literal["asif", "ridge"]
KINDS: tuple[BridgeKind, ...] = ("asif", "ridge")
FEWEST_PAIRS = 8


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Bridge:
    """A fitted bridge. Cosine (here: the dot product) in the joint space compares an image with a text.

    params: {"k", "exponent"} or {"alpha"}, and how they were chosen. image_mean, text_mean: centres of the
    two spaces. image_side, text_side: anchors (n_pairs, dim) of "asif", maps (dim, joint_dim) of "ridge".
    """

    kind: BridgeKind
    params: Mapping[str, Any]
    n_pairs: int
    anchors_sha256: str
    image_mean: F32
    text_mean: F32
    image_side: F32
    text_side: F32

    @property
    def image_dim(self) -> int:
        """Length of an image vector."""
        return len(self.image_mean)

    @property
    def text_dim(self) -> int:
        """Length of a text vector."""
        return len(self.text_mean)

    @property
    def joint_dim(self) -> int:
        """Length of a vector in the joint space."""
        return self.n_pairs if self.kind == "asif" else int(self.text_side.shape[1])

    def images_to_joint(self, images: NDArray[Any]) -> F32:
        """(n, image_dim) to (n, joint_dim) unit rows; a zero row when the image resembles no anchor."""
        return self._to_joint(
            checked_rows(images, "images", self.image_dim), self.image_mean, self.image_side
        )

    def texts_to_joint(self, texts: NDArray[Any]) -> F32:
        """(n, text_dim) to (n, joint_dim) unit rows; a zero row when the text resembles no anchor."""
        return self._to_joint(checked_rows(texts, "texts", self.text_dim), self.text_mean, self.text_side)

    def scores(self, texts: NDArray[Any], images: NDArray[Any], *, chunk: int = 4096) -> F32:
        """(n_texts, n_images) cosines in the joint space, with memory for `chunk` images at a time."""
        asked = self.texts_to_joint(texts)
        out = np.empty((len(asked), len(images)), dtype=np.float32)
        for start in range(0, len(images), chunk):
            out[:, start : start + chunk] = asked @ self.images_to_joint(images[start : start + chunk]).T
        return out

    def _to_joint(self, vectors: F32, mean: F32, side: F32) -> F32:
        centred = unit_rows(unit_rows(vectors) - mean)
        if self.kind == "ridge":
            return unit_rows(centred @ side)
        return relative(centred @ side.T, int(self.params["k"]), float(self.params["exponent"]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is stored beside `spec()`."""
        return {
            "image_mean": self.image_mean,
            "text_mean": self.text_mean,
            "image_side": self.image_side,
            "text_side": self.text_side,
        }

    def spec(self) -> dict[str, Any]:
        """The bridge without its arrays, as JSON."""
        return {
            "kind": self.kind,
            "params": dict(self.params),
            "n_pairs": self.n_pairs,
            "image_dim": self.image_dim,
            "text_dim": self.text_dim,
            "joint_dim": self.joint_dim,
            "anchors_sha256": self.anchors_sha256,
        }

    @classmethod
    def restore(cls, spec: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Bridge:
        """The bridge that gave this spec and these arrays. Raises StoreDamaged when they do not fit."""
        try:
            bridge = cls(
                kind=spec["kind"],
                params=dict(spec["params"]),
                n_pairs=int(spec["n_pairs"]),
                anchors_sha256=str(spec["anchors_sha256"]),
                **{name: np.asarray(arrays[name], dtype=np.float32) for name in _ARRAYS},
            )
            told = (spec["image_dim"], spec["text_dim"], spec["joint_dim"])
        except (KeyError, TypeError, ValueError) as error:
            raise StoreDamaged(f"a stored bridge lacks or garbles {error}; fit it again") from error
        if bridge.kind not in KINDS or told != (bridge.image_dim, bridge.text_dim, bridge.joint_dim):
            raise StoreDamaged("a stored bridge's description does not fit its arrays; fit it again")
        return bridge


_ARRAYS = ("image_mean", "text_mean", "image_side", "text_side")


def fit_bridge(
    kind: BridgeKind,
    images: NDArray[Any],
    texts: NDArray[Any],
    *,
    patients: Groups | None = None,
    seed: int = 0,
) -> Bridge:
    """Fit a bridge of that kind to n pairs, choosing its parameters on held-out patients."""
    if kind == "asif":
        return fit_asif(images, texts, patients=patients, seed=seed)
    if kind == "ridge":
        return fit_ridge(images, texts, patients=patients)
    raise UsageError(f"no bridge kind '{kind}'; there are: {', '.join(KINDS)}")


def fit_asif(
    images: NDArray[Any],
    texts: NDArray[Any],
    *,
    patients: Groups | None = None,
    k: int | None = None,
    exponent: float | None = None,
    seed: int = 0,
) -> Bridge:
    """An ASIF bridge over n pairs: images (n, image_dim), texts (n, text_dim), row by row.

    k and exponent, when not given, are chosen by retrieval on patient-disjoint folds of the pairs.
    patients: (n,) who each pair is of; None when every pair is a patient of its own.
    """
    pairs = _Pairs.of(images, texts)
    near, said = unit_rows(pairs.images), unit_rows(pairs.texts)
    chosen: dict[str, Any] = {"k": k, "exponent": exponent, "chosen": "given"}
    if k is None or exponent is None:
        best_k, best_exponent = choose_asif(near, said, patients, seed, k=k, exponent=exponent)
        chosen = {"k": best_k, "exponent": best_exponent, "chosen": "patient-disjoint folds"}
    if int(chosen["k"]) < 1 or not float(chosen["exponent"]) > 0:
        raise UsageError("an ASIF bridge needs k of at least 1 and an exponent above 0")
    chosen["k"] = min(int(chosen["k"]), len(pairs.images))
    return pairs.bridge("asif", chosen, near, said)


def fit_ridge(
    images: NDArray[Any], texts: NDArray[Any], *, patients: Groups | None = None, alpha: float | None = None
) -> Bridge:
    """A ridge bridge over n pairs: images are mapped into the text space.

    alpha, when not given, has the smallest squared error when each patient is left out in turn (exact, from
    the hat matrix; no refitting). The items searched are mapped, not the query, which keeps hubs away
    (Shigeto et al., Ridge Regression, Hubness, and Zero-Shot Learning, ECML 2015).
    """
    pairs = _Pairs.of(images, texts)
    weights, used = solve_ridge(pairs.images, pairs.texts, patients, alpha)
    how = "given" if alpha is not None else "leave one patient out"
    return pairs.bridge(
        "ridge", {"alpha": used, "chosen": how}, weights, np.eye(pairs.texts.shape[1], dtype=np.float32)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Unit rows less their mean, the means, and the digest of what was given."""

    images: F32
    texts: F32
    image_mean: F32
    text_mean: F32
    sha256: str

    @classmethod
    def of(cls, images: NDArray[Any], texts: NDArray[Any]) -> _Pairs:
        given_images, given_texts = checked_rows(images, "images"), checked_rows(texts, "texts")
        if len(given_images) != len(given_texts):
            raise UsageError(f"{len(given_images)} images and {len(given_texts)} texts are not pairs")
        if len(given_images) < FEWEST_PAIRS:
            raise UsageError(
                f"{len(given_images)} pairs of image and report are too few for a bridge; "
                f"ingest images with reports (at least {FEWEST_PAIRS}, better hundreds)"
            )
        image_mean = unit_rows(given_images).mean(axis=0)
        text_mean = unit_rows(given_texts).mean(axis=0)
        return cls(
            unit_rows(given_images) - image_mean,
            unit_rows(given_texts) - text_mean,
            image_mean,
            text_mean,
            arrays_sha256(given_images, given_texts),
        )

    def bridge(self, kind: BridgeKind, params: Mapping[str, Any], image_side: F32, text_side: F32) -> Bridge:
        return Bridge(
            kind=kind,
            params=params,
            n_pairs=len(self.images),
            anchors_sha256=self.sha256,
            image_mean=self.image_mean,
            text_mean=self.text_mean,
            image_side=np.ascontiguousarray(image_side, dtype=np.float32),
            text_side=np.ascontiguousarray(text_side, dtype=np.float32),
        )
