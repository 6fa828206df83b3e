"""`timm:MODEL`, `timm:hf-hub:ORG/REPO` and `timm:FOLDER`, known before timm is imported."""

from __future__ import annotations

from embedstore_torch.loading import check_request

from embedstore.contracts.encoder import Encoder, EncoderSpec, LoadRequest, TowerSpec, WeightsReport
from embedstore.encoders.weights import not_downloaded
from embedstore.errors import Refused, WeightsMissing
from embedstore_timm import places
from embedstore_timm.recipes import POOLINGS, VIEWS, Profile, from_timm


class TimmFactory:
    """Entry point `timm`."""

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template; recipe and dimension are known when a folder with timm's `config.json` is named.

        Raises UsageError for a name or profile that cannot be.
        """
        named, chosen = places.parse(name), Profile.parse(profile)
        config = places.read_config(named.folder) if named.folder is not None else {}
        dim = config.get("num_features")
        pooling = f"timm's '{chosen.pooling}'" if chosen.pooling else "the model's own"
        return EncoderSpec(
            name=name,
            version="1",
            towers=(
                TowerSpec(
                    kind="image",
                    dim=int(dim) if dim else None,
                    preprocess=from_timm(places.data_of(config), chosen).to_json() if config else {},
                    pooling=pooling,
                ),
            ),
            licence="that of the weights",
            source=_source(named),
            cite="Wightman, PyTorch Image Models, doi:10.5281/zenodo.4414861",
            profile=profile,
            notes=f"say which model: timm:MODEL; views: {', '.join(VIEWS)}, each @SIZE; poolings: the "
            f"model's own, {', '.join(POOLINGS)}; text search needs a bridge",
        )

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Look for the weights without loading them."""
        self.spec(name, request.profile)
        named = places.parse(name)
        try:
            located, searched = places.find(named, request)
        except Refused as error:
            return WeightsReport(state="unusable", remedy=str(error))
        if located is None:
            return WeightsReport(state="missing", remedy=places.remedy(named), searched=searched)
        wrong = not_downloaded(located.file)
        state = "unusable" if wrong else "present"
        return WeightsReport(state=state, path=str(located.file), remedy=wrong, searched=searched)

    def load(self, name: str, request: LoadRequest) -> Encoder:
        """Load strictly and bind. Raises WeightsMissing, Refused, UsageError."""
        template = self.spec(name, request.profile)
        check_request(name, request)
        named = places.parse(name)
        located, _ = places.find(named, request)
        if located is None:
            raise WeightsMissing(f"no weights for '{name}' on this machine: {places.remedy(named)}")
        from embedstore_timm.network import load

        return load(template, named, located, request)


def _source(named: places.Named) -> str:
    if named.folder is not None:
        return str(named.folder)
    repo = named.repo or (f"timm/{named.model}" if named.model else "")
    return f"huggingface.co/{repo}" if repo else "timm:MODEL"
