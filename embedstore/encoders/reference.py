"""The encoder `reference`: numpy only, a few microseconds per input, for tests and for reading.

Image: grey 8x8 thumbnail, 16-bin histogram, mean and spread; text: signed hashing of its words
(Weinberger et al. 2009, "Feature hashing"). Each goes through fixed signs drawn from sha256 (Achlioptas 2003,
"Database-friendly random projections") into one 64-dimensional space. It has learned nothing: images
compare by their looks, texts by their words, and an image against a text by chance.

Profiles show what a recipe can ask for: `ct` and `ct-windows` read Hounsfield units, through one named window
or three as channels, `ct-volume` and `mr-volume` scale the slices of a volume alike, `pet` reads
standardised uptake values.
"""

from __future__ import annotations

import hashlib
import re
import types
from collections.abc import Mapping, Sequence

import numpy as np

from embedstore.contracts.encoder import EncoderSpec, LoadRequest, Profile, TowerSpec, WeightsReport, bind
from embedstore.contracts.image import F32, ImageInput
from embedstore.encoders.batching import check_texts, in_batches, stack
from embedstore.encoders.geometry import CropRoi, Resize
from embedstore.encoders.intensity import ClipMinMax, PercentileWindow, Rescale, ToGrey, Window
from embedstore.encoders.preprocess import Recipe
from embedstore.encoders.weights import only_fp32
from embedstore.encoders.windows import Windows, ct_window
from embedstore.errors import UsageError
from embedstore.fingerprint import bytes_sha256

DIM = 64
_SIDE = 8
_BINS = 16
_FEATURES = _SIDE * _SIDE + _BINS + 3
_THUMBNAIL = Resize(size=(_SIDE, _SIDE), mode="squash", interpolation="bilinear")
_RECIPES: Mapping[str, Recipe] = types.MappingProxyType(
    {
        "default": Recipe((CropRoi(), ToGrey(), _THUMBNAIL, Rescale())),
        "ct": Recipe((CropRoi(), ToGrey(), ct_window("soft_tissue"), _THUMBNAIL), wants="hu"),
        "ct-windows": Recipe(
            (CropRoi(), ToGrey(), Windows.named("lung", "mediastinum", "bone"), _THUMBNAIL), wants="hu"
        ),
        # Two rules that scale the slices of a volume alike: by its extremes, by its percentiles.
        "ct-volume": Recipe((ClipMinMax(low=-160, high=240), CropRoi(), ToGrey(), _THUMBNAIL), wants="hu"),
        "mr-volume": Recipe((PercentileWindow(), CropRoi(), ToGrey(), _THUMBNAIL), wants="raw"),
        # Up to 10 g/ml, as FDG is commonly read.
        "pet": Recipe((CropRoi(), ToGrey(), Window(center=5.0, width=10.0), _THUMBNAIL), wants="suv"),
    }
)
_WHOSE: Mapping[str, str] = types.MappingProxyType(
    {
        "default": "pixels as a screen shows them",
        "ct": "Hounsfield units through one window",
        "ct-windows": "Hounsfield units through three windows as channels",
        "ct-volume": "Hounsfield units scaled by the extremes of the volume",
        "mr-volume": "raw values scaled by the percentiles of the volume",
        "pet": "standardised uptake values",
    }
)
_CHANNELS: Mapping[str, int] = types.MappingProxyType({"ct-windows": 3})
_WORD = re.compile(r"\w+")


def _signs(seed: str, count: int) -> F32:
    """`count` values of +1 or -1 from sha256 of the seed: the same on every machine and numpy."""
    data = b"".join(hashlib.sha256(f"{seed}/{n}".encode()).digest() for n in range(-(-count // 256)))
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))[:count]
    return bits.astype(np.float32) * 2 - 1


class ReferenceEncoder:
    """Both towers; implements `PortableEncoder`."""

    def __init__(self, template: EncoderSpec) -> None:
        self.batch_size = 32
        self.preparation = _RECIPES[template.profile].apply
        features = _FEATURES * _CHANNELS.get(template.profile, 1)
        self._projection = _signs("embedstore reference image", features * DIM).reshape(features, DIM)
        self._bias = 0.1 * _signs("embedstore reference text", DIM)
        weights = bytes_sha256(self._projection.tobytes() + self._bias.tobytes())
        self.spec = bind(template, weights, {"image": DIM, "text": DIM})

    def prepare_image(self, image: ImageInput) -> F32:
        """(1, 8, 8) float32 in [0, 1]; (3, 8, 8) with three windows."""
        return self.preparation(image)

    def forward_images(self, batch: F32) -> F32:
        """(n, channels, 8, 8) to (n, 64); each row by itself, so that it cannot depend on its batch."""
        if not len(batch):
            return np.empty((0, DIM), dtype=np.float32)
        return stack([np.concatenate([*map(_features, row)]) @ self._projection for row in batch])

    def encode_images(self, images: Sequence[ImageInput]) -> F32:
        """(n, 64) float32."""
        return in_batches(
            images,
            self.batch_size,
            DIM,
            lambda chunk: self.forward_images(stack([self.prepare_image(i) for i in chunk])),
        )

    def encode_texts(self, texts: Sequence[str]) -> F32:
        """(n, 64) float32: sum of one sign vector per word."""
        return in_batches(
            check_texts(texts), self.batch_size, DIM, lambda chunk: stack([self._text(t) for t in chunk])
        )

    def _text(self, text: str) -> F32:
        words = [_signs(word, DIM) for word in _WORD.findall(text.casefold())]
        total: F32 = np.sum([self._bias, *words], axis=0, dtype=np.float32)
        return total


def _features(thumbnail: F32) -> F32:
    flat = thumbnail.ravel()
    counts = np.bincount(np.minimum(flat * _BINS, _BINS - 1).astype(np.int64), minlength=_BINS)
    histogram = (counts / flat.size).astype(np.float32)
    summary = np.array(
        [flat.mean(), flat.std(), 0.1], dtype=np.float32
    )  # 0.1: a black image is no zero vector
    return np.concatenate([flat - flat.mean(), histogram, summary])


class ReferenceFactory:
    """Entry point `reference`."""

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template. Raises UsageError for an argument or an unknown profile."""
        if name != "reference" or profile not in _RECIPES:
            raise UsageError(
                f"encoder '{name}' has no profile '{profile}': 'reference' has {', '.join(_RECIPES)}"
            )
        recipe = _RECIPES[profile]
        return EncoderSpec(
            name="reference",
            version="1",
            towers=(
                TowerSpec(
                    kind="image",
                    dim=DIM,
                    preprocess=recipe.to_json(),
                    wants=recipe.wants,
                    pooling="signed projection",
                    metric="cosine",
                ),
                TowerSpec(
                    kind="text",
                    dim=DIM,
                    preprocess={"words": _WORD.pattern, "fold": "casefold"},
                    pooling="sum of hashed words",
                    metric="cosine",
                ),
            ),
            licence="Apache-2.0",
            source="built in",
            shared_space=True,
            profile=profile,
            notes="learned nothing; for tests",
        )

    def profiles(self, name: str) -> tuple[Profile, ...]:
        """What a recipe can ask for, the default first."""
        return tuple(Profile(key, _WHOSE[key], recipe.to_json()) for key, recipe in _RECIPES.items())

    def poolings(self, name: str) -> Mapping[str, str]:
        """One way only."""
        return {}

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Always present: the signs are computed."""
        self.spec(name, request.profile)
        return WeightsReport(state="present")

    def load(self, name: str, request: LoadRequest) -> ReferenceEncoder:
        """Build it. Raises UsageError when weights or a precision are asked for."""
        only_fp32("reference", request)
        if request.weights is not None or request.device != "cpu":
            raise UsageError("encoder 'reference' has no weights file and runs on the CPU only")
        return ReferenceEncoder(self.spec(name, request.profile))


factory = ReferenceFactory()
