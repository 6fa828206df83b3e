"""`transformers:FOLDER`: CLIP and SigLIP models in folders that transformers' `save_pretrained` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from embedstore_torch.loading import check_request, input_shape

from embedstore.contracts.encoder import EncoderSpec, LoadRequest, WeightsReport
from embedstore.encoders.preprocess import Recipe
from embedstore.encoders.weights import hub_snapshots, not_downloaded
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.fingerprint import digest, file_sha256
from embedstore_clip.dual import DualEncoder, bind_dual, image_tower, text_tower
from embedstore_clip.recipes import from_processor

_MODEL_TYPES = ("clip", "siglip")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_DECIDING = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)
_GENERIC = (
    "transformers:REPO-OR-FOLDER (a folder with config.json, weights, tokenizer and preprocessor_config.json)"
)


class TransformersFactory:
    """Entry point `transformers`."""

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template; with a folder that is there, its recipe and dimension too.

        Raises UsageError for another profile, a name without "transformers:", or an unsupported model type.
        """
        plugin, _, argument = name.partition(":")
        if plugin != "transformers" or profile != "default":
            raise UsageError(f"encoder '{name}' with profile '{profile}': say {_GENERIC}, profile 'default'")
        recipe, dim, context = None, None, None
        if argument and (Path(argument) / "config.json").is_file():
            config = read_config(Path(argument))
            recipe, dim, context = processor_recipe(Path(argument)), _dim(config), _context(config)
        return EncoderSpec(
            name=name,
            version="1",
            towers=(image_tower(dim, recipe), text_tower(dim, context, "the model's own")),
            licence="that of the weights",
            source=f"transformers:{argument}" if argument else _GENERIC,
            cite="Radford et al. 2021, arXiv:2103.00020; Zhai et al. 2023, arXiv:2303.15343",
            shared_space=True,
        )

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Look into the folder without loading anything."""
        self.spec(name, request.profile)
        folder, searched = find_folder(name, request)
        if folder is None:
            return WeightsReport(state="missing", remedy=_remedy(name), searched=searched)
        state: Literal["present", "missing", "unusable"]
        try:
            read_config(folder), processor_recipe(folder)
            wrong = next(filter(None, map(not_downloaded, _weight_files(folder))), "")
        except (Refused, UsageError, WeightsMissing) as error:
            state = "missing" if isinstance(error, WeightsMissing) else "unusable"
            return WeightsReport(state=state, path=str(folder), remedy=str(error), searched=searched)
        state = "unusable" if wrong else "present"
        return WeightsReport(state=state, path=str(folder), remedy=wrong, searched=searched)

    def load(self, name: str, request: LoadRequest) -> DualEncoder:
        """Load and bind. Raises WeightsMissing, Refused, UsageError."""
        template = self.spec(name, request.profile)
        check_request(name, request)
        folder, _ = find_folder(name, request)
        if folder is None:
            raise WeightsMissing(_remedy(name))
        return load_folder(template, folder, request, processor_recipe(folder))


def load_folder(template: EncoderSpec, folder: Path, request: LoadRequest, recipe: Recipe) -> DualEncoder:
    """The folder's model behind a recipe. Raises WeightsMissing, Refused, UsageError."""
    config = read_config(folder)
    if wrong := next(filter(None, map(not_downloaded, _weight_files(folder))), ""):
        raise Refused(wrong)
    files = _weight_files(folder) + [folder / n for n in _DECIDING if (folder / n).is_file()]
    from embedstore_torch.forward import forward_of
    from embedstore_torch.sharing import Kept

    from embedstore_clip.transformers_network import TransformersNetwork

    network = TransformersNetwork(folder, config, request.device, request.precision)
    dim = network.texts(["a"]).shape[1]
    text = text_tower(dim, network.context, "the model's own", network.reading)
    towers = (image_tower(dim, recipe), text)
    sha256 = digest({path.name: file_sha256(path) for path in files})
    spec = bind_dual(template, towers, sha256, dim, request.precision)
    size = input_shape(recipe)
    forward = forward_of(network.image_side, spec, request, size, Kept(_weight_files(folder)))
    return DualEncoder(spec, network, forward, recipe, request.threads)


def find_folder(name: str, request: LoadRequest) -> tuple[Path | None, tuple[str, ...]]:
    """The first place with a config.json, and the places searched."""
    argument = name.partition(":")[2]
    places = []
    if request.weights is not None:
        places.append(request.weights.parent if request.weights.is_file() else request.weights)
    elif argument:
        places.append(Path(argument))
        if (base := request.weights_folder) is not None:
            parts = argument.split("/")
            places += [base / argument, base / "--".join(parts), base / parts[-1]]
        places += [path.parent for path in hub_snapshots(argument, "config.json")]
    searched = tuple(str(place) for place in places)
    return next((p for p in places if (p / "config.json").is_file()), None), searched


def _remedy(name: str) -> str:
    where = name.partition(":")[2] or "FOLDER"
    return (
        f"no model in '{where}': fetch the model's repository on a machine with a network "
        "('hf download ORG/MODEL --local-dir FOLDER'), copy the folder here and say transformers:FOLDER"
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read as JSON; fetch the folder again") from error
    if not isinstance(found, dict):
        raise Refused(f"{path} is not a JSON object; fetch the folder again")
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json`. Raises Refused, UsageError for a model type that cannot be read."""
    config = _json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in _MODEL_TYPES:
        hint = "; NaFlex models have no fixed input size" if kind == "siglip2" else ""
        raise UsageError(
            f"{folder} holds a model of type '{kind}'; transformers: reads {' and '.join(_MODEL_TYPES)}{hint}"
        )
    return config


def processor_recipe(folder: Path) -> Recipe:
    """What the folder's image processor does. Raises WeightsMissing, Refused."""
    path = folder / "preprocessor_config.json"
    if path.is_file():
        return from_processor(_json(path))
    path = folder / "processor_config.json"  # where newer versions of transformers put it
    if path.is_file():
        settings = _json(path).get("image_processor")
        if isinstance(settings, dict):
            return from_processor(settings)
    raise WeightsMissing(f"{folder} has no preprocessor_config.json; fetch it from the model's repository")


def _weight_files(folder: Path) -> list[Path]:
    for pattern in _WEIGHTS:
        if files := sorted(folder.glob(pattern)):
            return files
    raise WeightsMissing(f"{folder} has no model.safetensors; fetch it from the model's repository")


def _dim(config: dict[str, Any]) -> int | None:
    if config["model_type"] == "clip":
        return int(config.get("projection_dim", 512))
    vision = config.get("vision_config") or {}
    return int(vision.get("hidden_size", 768))


def _context(config: dict[str, Any]) -> int:
    text = config.get("text_config") or {}
    return int(text.get("max_position_embeddings", 77 if config["model_type"] == "clip" else 64))
