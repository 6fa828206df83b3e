"""`biomedclip` and `medsiglip`: two published models under their own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from embedstore_torch.loading import check_request

from embedstore.contracts.encoder import EncoderSpec, LoadRequest, Profile, Terms, WeightsReport
from embedstore.encoders.preprocess import CropRoi, Normalize, Recipe, Rescale, Resize, ToRGB
from embedstore.errors import UsageError, WeightsMissing
from embedstore_clip.dual import DualEncoder, image_tower, text_tower
from embedstore_clip.open_clip_factory import OpenClipFactory
from embedstore_clip.recipes import from_open_clip, from_processor
from embedstore_clip.transformers_factory import (
    TransformersFactory,
    find_folder,
    load_folder,
    processor_recipe,
    read_config,
)

_BIOMEDCLIP = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
_BIOMEDBERT = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
_MEDSIGLIP = "google/medsiglip-448"
_SIDE = 448
_HALF = (0.5, 0.5, 0.5)
_SIGLIP = from_processor({"size": {"height": _SIDE, "width": _SIDE}, "image_mean": _HALF, "image_std": _HALF})


class BiomedClipFactory:
    """Entry point `biomedclip`: the folder of its repository, through open_clip and in open_clip's space."""

    _inner = OpenClipFactory()
    _name = f"open-clip:hf-hub:{_BIOMEDCLIP}"

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template. Raises UsageError for an argument or another profile."""
        _plain(name, "biomedclip", profile, ("default",))
        return EncoderSpec(
            name="biomedclip",
            version="1",
            towers=(
                image_tower(512, from_open_clip({"size": 224})),
                text_tower(512, 256, _BIOMEDBERT),
            ),
            licence="MIT",
            source=f"huggingface.co/{_BIOMEDCLIP}",
            cite="Zhang et al. 2023, arXiv:2303.00915",
            shared_space=True,
            prompt="this is a photo of {}",
            notes="trained on figures of PubMed Central; put the whole repository into one folder",
        )

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Look for the weights without loading them."""
        self.spec(name, request.profile)
        return self._inner.doctor(self._name, request)

    def load(self, name: str, request: LoadRequest) -> DualEncoder:
        """Load and bind. Raises WeightsMissing, Refused, UsageError."""
        template = self.spec(name, request.profile)
        return _renamed(self._inner.load(self._name, request), template)


class MedSiglipFactory:
    """Entry point `medsiglip`: the folder of its repository, through transformers and in its space.

    Profile "default" is the repository's own image processor, described as SigLIP's until the folder is
    read; "evaluation" resizes as the authors did for their published figures: bilinear, without antialias,
    truncated to whole grey values.
    """

    _inner = TransformersFactory()
    _name = f"transformers:{_MEDSIGLIP}"

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template. Raises UsageError for an argument or an unknown profile."""
        _plain(name, "medsiglip", profile, ("default", "evaluation"))
        recipe = _evaluation(_SIDE) if profile == "evaluation" else _SIGLIP
        return EncoderSpec(
            name="medsiglip",
            version="1",
            towers=(image_tower(1152, recipe), text_tower(1152, 64, "the model's own")),
            licence="HAI-DEF terms",
            source=f"huggingface.co/{_MEDSIGLIP}",
            cite="Sellergren et al. 2025, arXiv:2507.05201",
            modalities=("CR", "DX", "CT", "MR", "OP", "SM", "XC"),
            shared_space=True,
            profile=profile,
            notes="accept the terms on the hub, then fetch the whole repository into one folder; the image "
            "processor in it decides the default recipe",
            terms=Terms(
                licence="Health AI Developer Foundations terms of use",
                where="developers.google.com/health-ai-developer-foundations/terms",
                forbids="unauthorised clinical use",
                gated=True,
            ),
        )

    def profiles(self, name: str) -> tuple[Profile, ...]:
        """Ways to prepare images, the default first."""
        return (
            Profile("default", "the repository's own image processor", _SIGLIP.to_json()),
            Profile("evaluation", "the authors' published evaluation", _evaluation(_SIDE).to_json()),
        )

    def poolings(self, name: str) -> Mapping[str, str]:
        """There is one."""
        return {}

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Look for the folder without loading it."""
        self.spec(name, request.profile)
        return self._inner.doctor(self._name, replace(request, profile="default"))

    def load(self, name: str, request: LoadRequest) -> DualEncoder:
        """Load and bind. Raises WeightsMissing, Refused, UsageError."""
        template = self.spec(name, request.profile)
        check_request(name, request)
        folder, _ = find_folder(self._name, request)
        if folder is None:
            raise WeightsMissing(self.doctor(name, request).remedy)
        config = read_config(folder)
        if config["model_type"] != "siglip":
            raise UsageError(
                f"{folder} holds a model of type '{config['model_type']}', medsiglip is 'siglip'"
            )
        recipe = processor_recipe(folder)
        if request.profile == "evaluation":
            recipe = _evaluation(int(config["vision_config"]["image_size"]))
        return _renamed(load_folder(self._inner.spec(self._name), folder, request, recipe), template)


def _evaluation(side: int) -> Recipe:
    resize = Resize(
        size=(side, side), mode="squash", interpolation="bilinear", antialias=False, library="tensorflow"
    )
    return Recipe((CropRoi(), resize, Rescale(divisor=255), ToRGB(), Normalize(mean=_HALF, std=_HALF)))


def _plain(name: str, known: str, profile: str, profiles: tuple[str, ...]) -> None:
    if name != known:
        raise UsageError(f"encoder '{known}' takes no argument, but '{name}' was asked for")
    if profile not in profiles:
        raise UsageError(f"encoder '{known}' has no profile '{profile}'; it has {', '.join(profiles)}")


def _renamed(encoder: DualEncoder, template: EncoderSpec) -> DualEncoder:
    """The same spaces under another name, with what the template says of licence and source."""
    bound = encoder.spec
    encoder.spec = replace(
        template, towers=bound.towers, weights_sha256=bound.weights_sha256, precision=bound.precision
    )
    return encoder
