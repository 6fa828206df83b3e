"""MedSAM and MedSAM2 as data: official files, preprocessing profiles, poolings.

Facts are those of the authors' repositories: github.com/bowang-lab/MedSAM at d71e8a1 (inference script,
`pre_CT_MR.py`) and github.com/bowang-lab/MedSAM2 at 332f30d (`SAM2ImagePredictor`, `medsam2_infer_3D_CT.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embedstore.encoders.preprocess import (
    ClipMinMax,
    MinMax,
    Normalize,
    PercentileWindow,
    Recipe,
    Rescale,
    Resize,
    ToRGB,
    ToUint8,
)
from embedstore.encoders.weights import Official
from embedstore.errors import UsageError

CHANNELS = 256
"""Channels of the feature map, hence the length of a vector; the same in every SAM."""

_REGION = (
    "; with a region of interest over the cells it touches (its mask by bilinear interpolation without "
    "antialias above 0), or the cell at its centre when it slips between them"
)


@dataclass(frozen=True, slots=True)
class Model:
    """What tells MedSAM and MedSAM2 apart.

    variants: name to official file, the default first. size: side of the network's input in pixels; grid: of
    its feature map in cells. profiles and poolings: the default first; whose: each profile is, in words.
    weights_under: top-level key, "" for none. repository: on the Hugging Face hub, "" when the file is not
    there. obtain: how to get it, in words.
    """

    name: str
    title: str
    variants: Mapping[str, str]
    size: int
    grid: int
    profiles: Mapping[str, Recipe]
    whose: Mapping[str, str]
    poolings: Mapping[str, str]
    weights_under: str
    repository: str
    obtain: str
    source: str
    cite: str

    def file(self, name: str) -> str:
        """Official file that `name` or `name:variant` means. Raises UsageError."""
        _, _, wanted = name.partition(":")
        wanted = wanted or next(iter(self.variants))
        if wanted not in self.variants:
            known = ", ".join(self.variants)
            raise UsageError(f"{self.title} has no variant '{wanted}'; it has {known}")
        return self.variants[wanted]

    def official(self, name: str) -> Official:
        """That file as the shared search for weights knows it. Raises UsageError."""
        return Official(files=(self.file(name),), obtain=self.obtain, repository=self.repository)

    def choose(self, profile: str) -> tuple[Recipe, str]:
        """Recipe and pooling that `PROFILE[+POOLING]` means; "default" is the first of each.

        Raises UsageError.
        """
        wanted, _, pooling = profile.partition("+")
        wanted = next(iter(self.profiles)) if wanted == "default" else wanted
        pooling = pooling or next(iter(self.poolings))
        if wanted not in self.profiles or pooling not in self.poolings:
            poolings = " or ".join(f"+{name}" for name in self.poolings)
            raise UsageError(
                f"{self.title} has no profile '{profile}'; it has default, {', '.join(self.profiles)}, "
                f"and may end in {poolings}"
            )
        return self.profiles[wanted], pooling


# scikit-image's order 3 with antialias, truncated to bytes, then the picture's own extremes; no mean and std.
_TO_MEDSAM = (Resize(size=(1024, 1024), mode="squash", library="scipy"), MinMax(), ToRGB())
_CT = (ClipMinMax(low=-160, high=240), ToUint8(rounding="truncate"))

MEDSAM = Model(
    name="medsam",
    title="MedSAM",
    variants={"vit_b": "medsam_vit_b.pth"},
    size=1024,
    grid=64,
    profiles={
        "photo": Recipe(_TO_MEDSAM),
        "ct": Recipe((*_CT, *_TO_MEDSAM), wants="hu"),
        # As `pre_CT_MR.py` prepared the training data: no second rounding to bytes, zeros beyond the edge.
        "ct_training": Recipe(
            (
                *_CT,
                Rescale(),
                Resize(size=(1024, 1024), mode="squash", library="scipy", border="zeros"),
                MinMax(),
                ToRGB(),
            ),
            wants="hu",
        ),
        "mr": Recipe((PercentileWindow(), ToUint8(rounding="truncate"), *_TO_MEDSAM), wants="raw"),
    },
    whose={
        "photo": "the authors' inference script, for pictures in grey or colour",
        "ct": "the same for CT by level 40 and width 400",
        "ct_training": "CT as the training data was prepared (pre_CT_MR.py)",
        "mr": "MR and other raw values by their percentiles",
    },
    poolings={"gap": f"mean over the image encoder's 64 x 64 map{_REGION}"},
    weights_under="",
    repository="",
    obtain="download it by the link in the README of github.com/bowang-lab/MedSAM (Apache-2.0)",
    source="github.com/bowang-lab/MedSAM, medsam_vit_b.pth",
    cite="Ma et al. 2024, Nature Communications 15:654, doi:10.1038/s41467-024-44824-z",
)

_TO_MEDSAM2 = (ToRGB(), Rescale(), Normalize())

MEDSAM2 = Model(
    name="medsam2",
    title="MedSAM2",
    variants={
        "latest": "MedSAM2_latest.pt",
        "2411": "MedSAM2_2411.pt",
        "CTLesion": "MedSAM2_CTLesion.pt",
        "MRI_LiverLesion": "MedSAM2_MRI_LiverLesion.pt",
        "US_Heart": "MedSAM2_US_Heart.pt",
    },
    size=512,
    grid=32,
    profiles={
        # The predictor scales to [0, 1] and resizes in floating point, so nothing is rounded to bytes.
        "predictor": Recipe(
            (
                Rescale(),
                Resize(size=(512, 512), mode="squash", interpolation="bilinear"),
                ToRGB(),
                Normalize(),
            )
        ),
        "ct": Recipe((*_CT, Resize(size=(512, 512), mode="squash"), *_TO_MEDSAM2), wants="hu"),
    },
    whose={
        "predictor": "SAM2ImagePredictor, for pictures in grey or colour",
        "ct": "the authors' script for CT volumes (medsam2_infer_3D_CT.py), slice by slice",
    },
    poolings={
        "nomem": "mean over the coarsest of the three feature maps (32 x 32) with the checkpoint's "
        f"no_mem_embed added, as SAM2ImagePredictor keeps it{_REGION}",
        "plain": f"mean over the coarsest of the three feature maps (32 x 32), without no_mem_embed{_REGION}",
    },
    weights_under="model",
    repository="wanglab/MedSAM2",
    obtain="download it from huggingface.co/wanglab/MedSAM2 (Apache-2.0; read the terms of its model card)",
    source="huggingface.co/wanglab/MedSAM2",
    cite="Ma et al. 2025, MedSAM2: Segment Anything in 3D Medical Images and Videos, arXiv:2504.03600",
)
