"""What embedstore sees of the starter encoder before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping

from embedstore.contracts.encoder import (
    EncoderSpec,
    LoadRequest,
    Profile,
    TowerKind,
    TowerSpec,
    WeightsReport,
    bind,
)
from embedstore.encoders.preprocess import (
    CenterCrop,
    CropRoi,
    Normalize,
    Recipe,
    Rescale,
    Resize,
    ToRGB,
)
from embedstore.encoders.weights import only_fp32
from embedstore.errors import UsageError
from embedstore.fingerprint import digest
from embedstore_starter import weights
from embedstore_starter.encoder import IMAGE_DIM, TEXT_DIM, StarterEncoder

_SIDE = (224, 224)
_TO_NETWORK = (Rescale(divisor=255), Normalize(mean=(0.5,), std=(0.5,)), ToRGB())
RECIPES = {
    # The whole image with its proportions, padded with black: nothing at the edge of a film is cut off (a
    # centre crop loses costophrenic angles, markers, the rim of a fundus) and hearts keep their width.
    "default": Recipe(
        (CropRoi(), Resize(size=_SIDE, mode="longest"), CenterCrop(size=_SIDE), *_TO_NETWORK),
    ),
    # The evaluation transform of the network's authors, for comparison with published figures.
    "imagenet": Recipe(
        (CropRoi(), Resize(size=(256, 256), mode="shortest"), CenterCrop(size=_SIDE), *_TO_NETWORK),
    ),
    # As the default, from pixels that are decoded coarser: for many large photographs. Boxes and masks count
    # pixels of the file, so this one has none.
    "draft": Recipe(
        (Resize(size=_SIDE, mode="longest"), CenterCrop(size=_SIDE), *_TO_NETWORK), wants="draft"
    ),
}
_WHOSE = {
    "default": "the whole image, nothing at its edge cut off",
    "imagenet": "the evaluation transform of the network's authors",
    "draft": "the whole image, large JPEG pictures decoded coarser: faster, not exact",
}
TEXT_RECIPE = {
    "tokenizer": "WordPiece, uncased, 30,522 pieces (tokenizer.json of the model)",
    "window": 256,
    "longer": "windows of nearly equal length; mean of their unit vectors weighted by word pieces",
}
DIMS: dict[TowerKind, int] = {"image": IMAGE_DIM, "text": TEXT_DIM}


class StarterFactory:
    """Entry point `starter`."""

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template. Raises UsageError for an argument, or a profile that is not in `RECIPES`."""
        if name != "starter":
            raise UsageError(f"encoder 'starter' takes no argument, but '{name}' was asked for")
        recipe = RECIPES.get(profile)
        if recipe is None:
            raise UsageError(f"encoder 'starter' has no profile '{profile}'; it has {', '.join(RECIPES)}")
        return EncoderSpec(
            name="starter",
            version="1",
            towers=(
                TowerSpec(
                    kind="image",
                    dim=DIMS["image"],
                    preprocess=recipe.to_json(),
                    pooling="global average of the last feature map, after ReLU6",
                    wants=recipe.wants,
                ),
                TowerSpec(
                    kind="text",
                    dim=DIMS["text"],
                    preprocess=TEXT_RECIPE,
                    pooling="mean over tokens, L2-normalised",
                ),
            ),
            licence="Apache-2.0",
            source=" and ".join(tower.distribution for tower in weights.TOWERS.values()),
            cite="Tan & Le 2019, arXiv:1905.11946; Reimers & Gurevych 2019, arXiv:1908.10084",
            shared_space=False,
            profile=profile,
            notes="general-purpose networks that saw no medical data; text search needs a bridge",
        )

    def profiles(self, name: str) -> tuple[Profile, ...]:
        """Ways to prepare images, the default first."""
        return tuple(Profile(key, _WHOSE[key], recipe.to_json()) for key, recipe in RECIPES.items())

    def poolings(self, name: str) -> Mapping[str, str]:
        """One way only."""
        return {}

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Look for both towers' files and check their sha256."""
        self.spec(name, request.profile)
        found: list[str] = []
        searched: list[str] = []
        for tower in weights.TOWERS.values():
            paths, places = weights.find(tower, request)
            searched += places
            if paths is None:
                missing = f"{tower.files[0].file} not found: {weights.remedy(tower)}"
                return WeightsReport(state="missing", remedy=missing, searched=tuple(searched))
            wrong = weights.check(tower, paths)
            if wrong:
                return WeightsReport(
                    state="unusable", path=str(paths[0]), remedy=wrong, searched=tuple(searched)
                )
            found.append(str(paths[0]))
        return WeightsReport(state="present", path=", ".join(found), searched=tuple(searched))

    def load(self, name: str, request: LoadRequest) -> StarterEncoder:
        """Bind the spec; each tower is loaded when it is first used.

        The weights are found here and read then, so that a missing file is known at once.
        Raises WeightsMissing, UsageError; a tower's first use raises Refused for a file with another sha256.
        """
        template = self.spec(name, request.profile)
        only_fp32("starter", request)
        for tower in weights.TOWERS.values():
            weights.require(tower, request)
        hashes = {kind: tower.sha256 for kind, tower in weights.TOWERS.items()}
        spec = bind(template, digest(hashes), DIMS, tower_weights=hashes)
        return StarterEncoder(spec, RECIPES[request.profile], request)
