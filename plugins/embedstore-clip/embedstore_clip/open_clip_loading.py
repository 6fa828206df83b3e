"""An open_clip model and its tokenizer from local files alone."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from embedstore_torch.tensors import shapes_of

from embedstore.encoders.weights import is_torchscript, require_trust
from embedstore.errors import Refused, WeightsMissing
from embedstore_clip.open_clip_catalog import CONFIG, Located, Named, Settings

_BERTS = ("microsoft/BiomedNLP-",)  # BERT as published but for its sizes, which the checkpoint tells
_BERT = "text.transformer."
_OF_THE_ARCHIVE = ("input_resolution", "context_length", "vocab_size")
_HEAD_WIDTH = 64


def create(named: Named, located: Located, known: Settings, trust: str | None) -> Any:
    """The model with its weights. Raises Refused, WeightsMissing for parts kept elsewhere."""
    if is_torchscript(located.file):
        return _from_torchscript(named, located, known, trust)
    try:
        with warnings.catch_warnings(), _source(named, located, known) as (name, pretrained):
            # What these warn of is refused below, in our words.
            warnings.filterwarnings("ignore", message=".*TorchScript archive|Detected pickle protocol")
            return open_clip.create_model(
                name,
                pretrained=pretrained,
                pretrained_text=False,
                require_pretrained=True,
                weights_only=True,
                **_forced(known),
            )
    except OSError as error:
        if error.errno is None:  # transformers' word for a repository it cannot find
            raise _elsewhere(known, located) from error
        raise _unfit(named, located, error) from error
    except Refused:
        raise
    except Exception as error:  # a damaged or hostile file makes the loaders raise anything at all
        raise _unfit(named, located, error) from error


def tokenizer_of(named: Named, located: Located, known: Settings) -> Any:
    """The tokenizer, of the folder where there is one. Raises WeightsMissing."""
    name = named.model if located.folder is None else f"local-dir:{located.folder}"
    try:
        return open_clip.get_tokenizer(name)
    except (OSError, ValueError) as error:
        raise _elsewhere(known, located) from error


def _forced(known: Settings) -> dict[str, Any]:
    return {
        "force_quick_gelu": known.quick_gelu,
        "force_preprocess_cfg": {k: v for k, v in known.preprocess.items() if k != "size"},
    }


@contextmanager
def _source(named: Named, located: Located, known: Settings) -> Iterator[tuple[str, str | None]]:
    """open_clip's (model name, pretrained) for what was located.

    open_clip asks the hub for the text tower's configuration by its repository's name, whatever lies in the
    folder. Where the configuration is here, the model is read from a folder that names it.
    """
    text = known.model.get("text_cfg", {})
    repository = str(text.get("hf_model_name") or "")
    config = _text_config(located, repository) if repository and located.folder is not None else None
    if config is None:
        yield (
            (named.model, str(located.file))
            if located.folder is None
            else (
                f"local-dir:{located.folder}",
                None,
            )
        )
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "text").mkdir()
        (folder / "text" / "config.json").write_text(json.dumps(config), encoding="utf-8")
        whole = {
            "model_cfg": {**known.model, "text_cfg": {**text, "hf_model_name": str(folder / "text")}},
            "preprocess_cfg": dict(known.preprocess),
        }
        (folder / CONFIG).write_text(json.dumps(whole), encoding="utf-8")
        (folder / located.file.name).symlink_to(located.file.resolve())
        yield f"local-dir:{folder}", None


def _text_config(located: Located, repository: str) -> dict[str, Any] | None:
    """transformers' configuration of the text tower: the folder's, else told by the checkpoint's shapes."""
    assert located.folder is not None
    path = located.folder / "config.json"
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Refused(f"{path} cannot be read as JSON; fetch it again") from error
        if isinstance(found, dict) and "vocab_size" in found:
            return found
    if not repository.startswith(_BERTS):
        return None
    return _bert(shapes_of(located.file))


def _bert(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    words = shapes.get(f"{_BERT}embeddings.word_embeddings.weight")
    wide = shapes.get(f"{_BERT}encoder.layer.0.intermediate.dense.weight")
    positions = shapes.get(f"{_BERT}embeddings.position_embeddings.weight")
    if words is None or wide is None or positions is None:
        return None
    start = f"{_BERT}encoder.layer."
    layers = {key[len(start) :].partition(".")[0] for key in shapes if key.startswith(start)}
    return {
        "model_type": "bert",
        "vocab_size": words[0],
        "hidden_size": words[1],
        "intermediate_size": wide[0],
        "max_position_embeddings": positions[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, words[1] // _HEAD_WIDTH),
    }


def _from_torchscript(named: Named, located: Located, known: Settings, trust: str | None) -> Any:
    """OpenAI's archives: their weights in open_clip's model, with the activation they were trained with."""
    require_trust(located.file, trust, "fetch the .safetensors file of the same weights")
    if not named.model or named.tag not in ("", "openai"):
        raise Refused(f"{located.file} is a TorchScript archive as OpenAI published, not {named.typed}")
    try:
        archive = torch.jit.load(located.file, map_location="cpu")
        tensors = {k: v.float() for k, v in archive.state_dict().items() if k not in _OF_THE_ARCHIVE}
        model = open_clip.create_model(named.model, load_weights=False, **_forced(known))
        model.load_state_dict(tensors, strict=True)
    except Exception as error:
        raise _unfit(named, located, error) from error
    return model


def _unfit(named: Named, located: Located, error: Exception) -> Refused:
    return Refused(f"{located.file} does not fit {named.typed}: {_shortly(error)}")


def _elsewhere(known: Settings, located: Located) -> WeightsMissing:
    """Some models keep their text configuration or tokenizer in a second repository."""
    text = known.model.get("text_cfg", {})
    repos = sorted({str(text[k]) for k in ("hf_model_name", "hf_tokenizer_name") if text.get(k)})
    return WeightsMissing(
        f"the weights are at {located.file}, but the text tower also needs configuration and tokenizer of "
        f"{' and '.join(repos) or 'its model'}; fetch them with a network ('hf download {' '.join(repos)}') "
        "and copy Hugging Face's cache folder here"
    )


def _shortly(error: BaseException) -> str:
    """Its first two lines in one: the second names what a state dict lacks."""
    lines = [line.strip() for line in str(error).strip().splitlines()[:2]] or [type(error).__name__]
    return " ".join(lines)[:200]
