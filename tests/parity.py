"""The parity cases: what the reference implementations answered, and how a plugin is held against them.

Everything is under tests/data/parity (its README says what each file is): checkpoints and images are drawn
from seeds, the reference's answers are stored. Plugin tests and benchmarks/parity.py use this alike.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from embedstore.contracts.encoder import EncoderFactory, LoadRequest
from embedstore.contracts.image import Image, ImageInput

FOLDER = Path(__file__).parent / "data" / "parity"
_GREY_LEVEL = 1.01 / 255


@dataclass(frozen=True)
class Subject:
    """An encoder and the case it is held against.

    profiles: of the case, to the encoder's. vectors: arrays of the case, to the encoder's pooling and whether
    they are of the region of interest. regional: the network's input has a channel for the region.
    """

    encoder: str
    case: str
    profiles: Mapping[str, str]
    vectors: Mapping[str, tuple[str, bool]]
    regional: bool = False


_CROPS = {name: name for name in ("finetune224", "squash224", "zscore224")}
_MEDSAM = {name: name for name in ("photo", "ct", "ct_training", "mr")}
SUBJECTS = {
    subject.encoder: subject
    for subject in (
        Subject(
            "retfound-mae",
            "retfound_mae_tiny",
            {**_CROPS, "finetune384": "finetune384"},
            {"mean_fcnorm": ("mean_fcnorm", False), "cls": ("cls", False)},
        ),
        Subject(
            "retfound-dinov2",
            "retfound_dinov2_tiny",
            _CROPS,
            {"cls": ("cls", False), "patchmean_ln": ("patchmean_ln", False)},
        ),
        Subject("medsam", "medsam_tiny", _MEDSAM, {"gap": ("gap", False), "roi": ("gap", True)}, True),
        Subject(
            "medsam2",
            "medsam2",
            {"predictor": "predictor", "ct_slice": "ct", "ct_volume": "ct"},
            {f"{what}_{how}": (how, what == "roi") for how in ("plain", "nomem") for what in ("gap", "roi")},
            True,
        ),
    )
}


@dataclass(frozen=True)
class Case:
    """data: the JSON; expected: what the reference answered; images: as drawn; checkpoint: on disk."""

    subject: Subject
    data: dict[str, Any]
    expected: dict[str, np.ndarray]
    images: dict[str, np.ndarray]
    checkpoint: Path
    box_mask: Callable[[list[int], list[int]], np.ndarray]
    encoders: dict[str, Any] = field(default_factory=dict)

    @property
    def tolerance(self) -> dict[str, float]:
        """By name, as the case states them."""
        return self.data["tolerance"]

    @property
    def reference(self) -> dict[str, str]:
        """Repository of the reference implementation to the commit it was run at."""
        return json.loads(str(self.expected["reference"]))["commits"]

    def networks(self) -> list[str]:
        """Profiles whose input is a ready tensor."""
        return [name for name in self.data["profiles"] if name not in self.subject.profiles]

    def encoder(self, factory: EncoderFactory, profile: str, pooling: str) -> Any:
        """The encoder as a user would load it, kept for the next question."""
        wanted = f"{profile}+{pooling}"
        if wanted not in self.encoders:
            request = LoadRequest(weights=self.checkpoint, profile=wanted, threads=1)
            self.encoders[wanted] = factory.load(self.subject.encoder, request)
        return self.encoders[wanted]

    def inputs(self, profile: str, region: bool = False) -> list[ImageInput]:
        """The profile's image, or the slices of its volume, as a reader hands them over."""
        roi = self.region(profile) if region else None
        name = self.data["profiles"][profile]["image"]
        pixels = self.images[name]
        if name == "photo":
            return [ImageInput(Image(pixels, "display"), roi=roi)]
        if profile == "mr":
            return [ImageInput(Image(np.maximum(pixels + 1000, 0)[..., None], "raw"), roi=roi)]
        extremes = (float(pixels.min()), float(pixels.max())) if name == "volume" else None
        planes = pixels if name == "volume" else pixels[None]
        return [ImageInput(Image(plane[..., None], "hu"), roi=roi, parent_range=extremes) for plane in planes]

    def region(self, profile: str) -> np.ndarray:
        """(H, W) bool mask of the box in the profile's image."""
        name = self.data["profiles"][profile]["image"]
        shape = self.images[name].shape
        return self.box_mask(self.data["boxes"][name], list(shape[:2] if name == "photo" else shape[-2:])) > 0

    def ready(self, profile: str) -> np.ndarray:
        """(1, C, H, W) input of a `net*` profile; the whole image is its region."""
        tensor = self.images[self.data["profiles"][profile]["image"]]
        return (np.concatenate([tensor, np.ones_like(tensor[:1])]) if self.subject.regional else tensor)[None]

    def off_in_preprocessing(self, profile: str, prepared: np.ndarray) -> float:
        """Largest difference from the reference's tensor (..., C, H, W) where it was sampled, or in its mean
        or spread per channel. As few values off by one grey level as the case allows are passed over."""
        step = int(self.expected[f"{profile}/pre_stride"])
        sample = self.expected[f"{profile}/pre_sample"]
        found = prepared[..., 3::step, 5::step].reshape(sample.shape)
        off = np.abs(found - sample)
        over = off > self.tolerance["preprocess"]
        if off.max() <= _GREY_LEVEL and over.mean() <= self.tolerance.get("preprocess_outlier_fraction", 0):
            off = off[~over]
        whole = prepared.reshape(-1, *prepared.shape[-3:])
        moments = [
            np.abs(whole.mean(axis=(2, 3)) - self.expected[f"{profile}/pre_mean"]).max(),
            np.abs(whole.std(axis=(2, 3)) - self.expected[f"{profile}/pre_std"]).max(),
        ]
        return float(max(off.max(), *moments))

    def off(self, key: str, found: np.ndarray) -> float:
        """Largest difference from an expected array, relative to that array's root mean square."""
        expected = self.expected[key]
        return float(np.abs(found.reshape(expected.shape) - expected).max() / np.sqrt(np.mean(expected**2)))


@dataclass(frozen=True)
class Off:
    """One comparison: which array of which case, by how much it is off, by how much it may be."""

    what: str
    off: float
    allowed: float


def preprocessing(case: Case, factory: EncoderFactory, profile: str) -> Off:
    """A profile's preprocessing against the reference's."""
    pooling = next(iter(case.subject.vectors.values()))[0]
    encoder = case.encoder(factory, case.subject.profiles[profile], pooling)
    prepared = np.stack([encoder.prepare_image(one) for one in case.inputs(profile)])[:, :3]
    what, allowed = f"{profile}/preprocessing", case.tolerance["preprocess"]
    return Off(what, case.off_in_preprocessing(profile, prepared), allowed)


def network(case: Case, factory: EncoderFactory, profile: str) -> Iterator[Off]:
    """The network alone, on a ready tensor, by each pooling."""
    size = case.data["profiles"][profile]["size"]
    taken = next(
        own for theirs, own in case.subject.profiles.items() if case.data["profiles"][theirs]["size"] == size
    )
    for vector in case.data["profiles"][profile]["vectors"]:
        encoder = case.encoder(factory, taken, case.subject.vectors[vector][0])
        off = case.off(f"{profile}/{vector}", encoder.forward_images(case.ready(profile)))
        yield Off(f"{profile}/{vector}", off, case.tolerance["vector"])


def vectors(
    case: Case, factory: EncoderFactory, profile: str, only: tuple[str, ...] | None = None
) -> Iterator[Off]:
    """From pixels to vectors, of the whole image and of its region, by each pooling."""
    for vector in only or case.data["profiles"][profile]["vectors"]:
        pooling, region = case.subject.vectors[vector]
        encoder = case.encoder(factory, case.subject.profiles[profile], pooling)
        found = encoder.encode_images(case.inputs(profile, region))
        yield Off(f"{profile}/{vector}", case.off(f"{profile}/{vector}", found), case.tolerance["vector"])


def build(subject: Subject, folder: Path) -> Case:
    """Rebuild a case; its checkpoint is written into `folder` under its official name."""
    data = json.loads((FOLDER / f"{subject.case}.json").read_text())
    tensors = _script("make_checkpoint").make_tensors(data)
    assert _script("make_checkpoint").digest(tensors) == data["weights_sha256"]
    checkpoint = folder / data["file"]
    _script("make_checkpoint").save(data, tensors, checkpoint)
    with np.load(FOLDER / f"{subject.case}.expected.npz") as stored:
        expected = dict(stored)
    pictures = _script("make_image")
    return Case(subject, data, expected, pictures.make_images(data), checkpoint, pictures.box_mask)


@cache
def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    if name == "make_image":
        _script("make_checkpoint")  # which it imports by its bare name
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
