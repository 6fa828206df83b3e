"""The two families of RETFound: their official files, preprocessing profiles and poolings, as data.

Facts are those of the authors' repository, github.com/rmaphoh/RETFound at ae9a9ec (evaluation transform of
`util/datasets.py`, `models_vit.py`, the feature notebook).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embedstore.encoders.preprocess import (
    CenterCrop,
    CropRoi,
    Normalize,
    Recipe,
    Rescale,
    Resize,
    ToRGB,
    ZScore,
)
from embedstore.errors import UsageError


@dataclass(frozen=True, slots=True)
class Variant:
    """One official checkpoint.

    files: its names, the current one first. modality: DICOM code of the images it was trained on.
    """

    name: str
    files: tuple[str, ...]
    modality: str

    @property
    def repository(self) -> str:
        """Where it is published; access is granted after its terms are accepted."""
        return f"YukunZhou/{self.files[0].removesuffix('.pth')}"


@dataclass(frozen=True, slots=True)
class Profile:
    """A way to prepare images. size: side of the network's square input in pixels. whose: in words."""

    size: int
    recipe: Recipe
    whose: str


@dataclass(frozen=True, slots=True)
class Family:
    """What tells RETFound MAE and RETFound DINOv2 apart.

    patch: side of a patch in pixels. weights_under: top-level key of the tensors; prefix: what their names
    begin with. dropped: beginnings of names that an image vector does not need. required: names that every
    official file has besides the network's own. poolings: name to words, the default first.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    profiles: Mapping[str, Profile]
    poolings: Mapping[str, str]
    patch: int
    weights_under: str
    prefix: str
    required: tuple[str, ...]
    dropped: tuple[str, ...]
    layer_scale: bool
    cite: str

    def variant(self, name: str) -> Variant:
        """The variant that `name` or `name:variant` means. Raises UsageError."""
        _, _, wanted = name.partition(":")
        found = next((v for v in self.variants if v.name == (wanted or self.variants[0].name)), None)
        if found is None:
            known = ", ".join(v.name for v in self.variants)
            raise UsageError(f"{self.title} has no variant '{wanted}'; it has {known}")
        return found

    def choose(self, profile: str) -> tuple[Profile, str]:
        """Profile and pooling that `PROFILE[+POOLING]` means; "default" is the first of each.

        Raises UsageError.
        """
        wanted, _, pooling = profile.partition("+")
        wanted = next(iter(self.profiles)) if wanted == "default" else wanted
        pooling = pooling or next(iter(self.poolings))
        if wanted not in self.profiles or pooling not in self.poolings:
            raise UsageError(
                f"{self.title} has no profile '{profile}'; it has default, {', '.join(self.profiles)}, "
                f"each with +{' or +'.join(self.poolings)} if another pooling is wanted"
            )
        return self.profiles[wanted], pooling


def _crop(shorter: int, size: int, whose: str) -> Profile:
    """The evaluation transform: shorter side by bicubic to `shorter`, centre crop, ImageNet statistics."""
    steps = (
        CropRoi(),
        Resize(size=(shorter, shorter), mode="shortest"),
        CenterCrop(size=(size, size)),
        ToRGB(),
        Rescale(),
        Normalize(),
    )
    return Profile(size, Recipe(steps), whose)


_SQUASH = (CropRoi(), Resize(size=(224, 224), mode="squash"), ToRGB(), Rescale())
_PROFILES = {
    "finetune224": _crop(256, 224, "the authors' evaluation transform"),
    "squash224": Profile(
        224, Recipe((*_SQUASH, Normalize())), "the feature notebook's squash, the evaluation's statistics"
    ),
    "zscore224": Profile(224, Recipe((*_SQUASH, ZScore())), "the authors' feature notebook"),
}

MAE = Family(
    name="retfound-mae",
    title="RETFound MAE",
    variants=(
        Variant("natureCFP", ("RETFound_mae_natureCFP.pth", "RETFound_cfp_weights.pth"), "OP"),
        Variant("natureOCT", ("RETFound_mae_natureOCT.pth", "RETFound_oct_weights.pth"), "OPT"),
        Variant("meh", ("RETFound_mae_meh.pth",), "OP"),
        Variant("shanghai", ("RETFound_mae_shanghai.pth",), "OP"),
    ),
    # Above 224 the authors' transform has no margin: the shorter side becomes 384 and is the crop.
    profiles={**_PROFILES, "finetune384": _crop(384, 384, "the evaluation transform at 384 pixels")},
    poolings={
        "mean_fcnorm": "mean of the patch tokens after the last block (no final norm, no CLS), then "
        "LayerNorm (weight 1, bias 0, eps 1e-6)",
        "cls": "CLS token after the checkpoint's own final LayerNorm (eps 1e-6)",
    },
    patch=16,
    weights_under="model",
    prefix="",
    required=("mask_token", "decoder_pos_embed"),
    dropped=("mask_token", "decoder_"),
    layer_scale=False,
    cite="Zhou et al. 2023, Nature 622:156-163, doi:10.1038/s41586-023-06555-x",
)

DINOV2 = Family(
    name="retfound-dinov2",
    title="RETFound DINOv2",
    variants=(
        Variant("meh", ("RETFound_dinov2_meh.pth",), "OP"),
        Variant("shanghai", ("RETFound_dinov2_shanghai.pth",), "OP"),
    ),
    profiles=_PROFILES,
    poolings={
        "cls": "CLS token after the final LayerNorm (eps 1e-6)",
        "patchmean_ln": "mean of the patch tokens after the final LayerNorm, then "
        "LayerNorm (weight 1, bias 0, eps 1e-6)",
    },
    patch=14,
    weights_under="teacher",
    prefix="backbone.",
    required=("backbone.mask_token", "dino_head.last_layer.weight_v"),
    dropped=("backbone.mask_token", "dino_head.", "ibot_head."),
    layer_scale=True,
    cite="Zhou et al. 2025, Revealing the Impact of Pre-training Data on Medical Foundation Models, "
    "Research Square rs-6080254",
)
