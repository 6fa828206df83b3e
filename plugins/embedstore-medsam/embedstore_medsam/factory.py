"""What embedstore sees of MedSAM and MedSAM2 before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping

from embedstore.contracts.encoder import (
    Encoder,
    EncoderSpec,
    LoadRequest,
    Profile,
    TowerSpec,
    WeightsReport,
)
from embedstore.encoders.weights import only_fp32
from embedstore_medsam.model import CHANNELS, Model


class MedsamFactory:
    """Entry points `medsam` and `medsam2`, each also with `:VARIANT`."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template.

        The variant is no part of the name: which file was loaded is told by its sha256. Raises UsageError
        for a variant or profile that does not exist.
        """
        model = self._model
        model.file(name)
        recipe, pooling = model.choose(profile)
        return EncoderSpec(
            name=model.name,
            version="2",
            towers=(
                TowerSpec(
                    kind="image",
                    dim=CHANNELS,
                    preprocess=recipe.to_json(),
                    pooling=model.poolings[pooling],
                    wants=recipe.wants,
                    regions=True,
                ),
            ),
            licence="Apache-2.0",
            source=model.source,
            cite=model.cite,
            modalities=("CT", "MR", "US", "XC"),
            profile=profile,
            notes=f"input {model.size} x {model.size}; vectors of whole images and of regions; variants: "
            f"{', '.join(model.variants)}; text search needs a bridge",
        )

    def profiles(self, name: str) -> tuple[Profile, ...]:
        """Ways to prepare images, the default first."""
        model = self._model
        return tuple(Profile(key, model.whose[key], one.to_json()) for key, one in model.profiles.items())

    def poolings(self, name: str) -> Mapping[str, str]:
        """Ways to make one vector of the map, the default first."""
        return self._model.poolings

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Look for the checkpoint; torch is not imported, the network is not used."""
        self._model.choose(request.profile)
        return self._model.official(name).report(request)

    def load(self, name: str, request: LoadRequest) -> Encoder:
        """Load a checkpoint in the official layout.

        Raises WeightsMissing, Refused for a file of another kind, UsageError.
        """
        template = self.spec(name, request.profile)
        only_fp32(template.name, request)
        path = self._model.official(name).require(request)
        from embedstore_medsam.encoder import MedsamEncoder

        return MedsamEncoder(template, self._model, request, path)
