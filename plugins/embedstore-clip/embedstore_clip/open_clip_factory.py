"""`open-clip:MODEL/PRETRAINED`, `open-clip:hf-hub:ORG/REPO` and `open-clip:FOLDER`: any open_clip model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from embedstore_torch.loading import check_request, input_shape

from embedstore.contracts.encoder import EncoderSpec, LoadRequest, WeightsReport
from embedstore.encoders.weights import is_torchscript, not_downloaded
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.fingerprint import digest, file_sha256
from embedstore_clip import open_clip_catalog as catalog
from embedstore_clip.dual import DualEncoder, bind_dual, image_tower, text_tower
from embedstore_clip.recipes import from_open_clip

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt")


class OpenClipFactory:
    """Entry point `open-clip`."""

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template, with recipe and dimension where the name settles them.

        Raises UsageError for another profile, or a model or pretrained tag open_clip does not know.
        """
        if profile != "default":
            raise UsageError(
                f"encoder '{name}' has no profile '{profile}'; it has 'default', the model's own"
            )
        named = catalog.parse(name)
        try:
            known = catalog.settings(named)
        except UsageError:  # the tag decides the preprocessing and was not given: nothing is known yet
            known = catalog.Settings()
        recipe = from_open_clip(known.preprocess) if known.model else None
        text = known.model.get("text_cfg", {})
        dim = known.model.get("embed_dim")
        entry = catalog.tags(named.model).get(named.tag, {}) if named.tag else {}
        source = named.repo or named.folder or entry.get("hf_hub") or entry.get("url")
        return EncoderSpec(
            name=name,
            version="1",
            towers=(
                image_tower(dim, recipe),
                text_tower(dim, text.get("context_length", 77) if known.model else None, _tokenizer(text)),
            ),
            licence="that of the weights",
            source=str(source or "open_clip_torch").rstrip("/"),
            cite="Radford et al. 2021, arXiv:2103.00020; Cherti et al. 2022, arXiv:2212.07143",
            shared_space=True,
            notes="" if named.model or named.repo or named.folder else catalog.remedy(named),
        )

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Look for the weights without loading them."""
        self.spec(name, request.profile)
        named = catalog.parse(name)
        located, searched = catalog.find(named, request)
        if located is None:
            return WeightsReport(state="missing", remedy=catalog.remedy(named), searched=searched)
        wrong = not_downloaded(located.file)
        if wrong:
            return WeightsReport(state="unusable", path=str(located.file), remedy=wrong, searched=searched)
        try:
            from_open_clip(catalog.settings(named, located).preprocess)
        except (Refused, UsageError) as error:
            return WeightsReport(
                state="unusable", path=str(located.file), remedy=str(error), searched=searched
            )
        return WeightsReport(state="present", path=str(located.file), searched=searched)

    def load(self, name: str, request: LoadRequest) -> DualEncoder:
        """Load and bind. Raises WeightsMissing, Refused, UsageError; never gives an untrained model."""
        template = self.spec(name, request.profile)
        check_request(name, request)
        named = catalog.parse(name)
        located, _ = catalog.find(named, request)
        if located is None:
            raise WeightsMissing(f"no weights for '{name}' on this machine: {catalog.remedy(named)}")
        known = catalog.settings(named, located)
        if is_torchscript(located.file):  # OpenAI's own archives; plain GELU would shift every vector
            known = replace(known, quick_gelu=True)
        if wrong := not_downloaded(located.file):
            raise Refused(wrong)
        from embedstore_torch.forward import forward_of
        from embedstore_torch.sharing import Kept

        from embedstore_clip.open_clip_network import OpenClipNetwork

        network = OpenClipNetwork(named, located, known, request)
        recipe = from_open_clip(network.preprocess)
        dim = network.texts(["a"]).shape[1]
        text = text_tower(dim, network.context, _tokenizer(known.model.get("text_cfg", {})))
        spec = bind_dual(
            template, (image_tower(dim, recipe), text), _sha256(located, known), dim, request.precision
        )
        size = input_shape(recipe)
        forward = forward_of(network.image_side, spec, request, size, Kept([located.file]))
        return DualEncoder(spec, network, forward, recipe, request.threads)


def _tokenizer(text: Any) -> str:
    return str(text.get("hf_tokenizer_name") or "open_clip's BPE") if text else "the model's own"


def _sha256(located: catalog.Located, known: catalog.Settings) -> str:
    """Checkpoint, architecture and the folder's tokenizer files: whatever decides a vector."""
    files = {"checkpoint": file_sha256(located.file)}
    if located.folder is not None:
        for name in _TOKENIZER_FILES:
            if (located.folder / name).is_file():
                files[name] = file_sha256(located.folder / name)
    return digest({"files": files, "model": known.model, "quick_gelu": known.quick_gelu})
