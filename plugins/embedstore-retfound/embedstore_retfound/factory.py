"""What embedstore sees of RETFound before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping

from embedstore_torch.loading import check_request

from embedstore.contracts.encoder import (
    Encoder,
    EncoderSpec,
    LoadRequest,
    Profile,
    Terms,
    TowerSpec,
    WeightsReport,
)
from embedstore_retfound.family import Family
from embedstore_retfound.weights import official, others_here


class RetfoundFactory:
    """Entry points `retfound-mae` and `retfound-dinov2`, each also with `:VARIANT`."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template; the checkpoint decides the dimension.

        The variant is no part of the name: which file was loaded is told by its sha256. Raises UsageError
        for a variant or profile that does not exist.
        """
        family = self._family
        variant = family.variant(name)
        chosen, pooling = family.choose(profile)
        return EncoderSpec(
            name=family.name,
            version="1",
            towers=(
                TowerSpec(
                    kind="image",
                    dim=None,
                    published_dim=1024,
                    preprocess=chosen.recipe.to_json(),
                    pooling=family.poolings[pooling],
                    wants=chosen.recipe.wants,
                ),
            ),
            licence="CC-BY-NC-4.0",
            source=f"huggingface.co/{variant.repository}, {variant.files[0]}",
            cite=family.cite,
            modalities=(variant.modality,),
            profile=profile,
            notes=f"ViT-L/{family.patch}; variants: "
            f"{', '.join(v.name for v in family.variants)}; text search needs a bridge",
            terms=Terms(
                licence="CC BY-NC 4.0",
                where=f"huggingface.co/{variant.repository}",
                forbids="commercial use",
                gated=True,
            ),
        )

    def profiles(self, name: str) -> tuple[Profile, ...]:
        """Ways to prepare images, the default first."""
        return tuple(
            Profile(key, one.whose, one.recipe.to_json()) for key, one in self._family.profiles.items()
        )

    def poolings(self, name: str) -> Mapping[str, str]:
        """Ways to make one vector of the tokens, the default first."""
        return self._family.poolings

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Look for the checkpoint; torch is not imported, the network is not used."""
        self._family.choose(request.profile)
        variant = self._family.variant(name)
        return official(variant).report(request, others_here(self._family, variant, request))

    def load(self, name: str, request: LoadRequest) -> Encoder:
        """Load a checkpoint in the official layout.

        Raises WeightsMissing, Refused for a file that is not of the family, UsageError.
        """
        template = self.spec(name, request.profile)
        check_request(template.name, request)
        variant = self._family.variant(name)
        path = official(variant).require(request, others_here(self._family, variant, request))
        from embedstore_retfound.encoder import load

        return load(template, self._family, request, path)
