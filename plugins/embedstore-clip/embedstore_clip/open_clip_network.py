"""open_clip's models behind the `Network` protocol."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from embedstore_torch.forward import OnDevice, rows
from torch import Tensor, nn

from embedstore.contracts.image import F32
from embedstore.errors import Refused, WeightsMissing
from embedstore_clip.open_clip_catalog import Located, Named, Settings
from embedstore_clip.quiet import offline


class OpenClipNetwork(OnDevice):
    """A model with the weights that were located, its tokenizer and its preprocessing settings."""

    def __init__(self, named: Named, located: Located, known: Settings, device: str, precision: str) -> None:
        """Raises Refused when the checkpoint does not fit, WeightsMissing for parts kept elsewhere."""
        with offline():
            model = _create(named, located, known)
            self._tokenizer = _tokenizer(named, located, known)
        super().__init__(model, device, precision)
        self.context = int(getattr(self._tokenizer, "context_length", None) or 77)
        self.logit_scale: float | None = float(model.logit_scale.detach().float().exp())
        bias = getattr(model, "logit_bias", None)
        self.logit_bias: float | None = None if bias is None else float(bias.detach().float())
        self.image_side: nn.Module = _ImageSide(model)
        self.preprocess: dict[str, Any] = dict(open_clip.get_model_preprocess_cfg(model))

    def texts(self, texts: Sequence[str]) -> F32:
        """n texts, cut off at the context, to (n, dim)."""
        self._claim_threads()
        tokens = self._tokenizer(list(texts)).to(self._device)
        with torch.inference_mode():
            return rows(self._model.encode_text(tokens))

    def fits(self, text: str) -> bool:
        """Whether the text is not longer than the context."""
        inner = getattr(self._tokenizer, "tokenizer", None)
        if inner is None:
            return len(self._tokenizer.encode(text)) + 2 <= self.context  # start and end of text
        cleaned = self._tokenizer.clean_fn(text)
        return len(inner(cleaned, truncation=False, verbose=False)["input_ids"]) <= self.context


class _ImageSide(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model: Any = model

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) prepared images to (n, dim)."""
        vectors: Tensor = self._model.encode_image(images)
        return vectors


def _source(named: Named, located: Located) -> tuple[str, str | None]:
    """open_clip's (model name, pretrained) for what was located."""
    if located.folder is not None:
        return f"local-dir:{located.folder}", None
    return named.model, str(located.file)


def _create(named: Named, located: Located, known: Settings) -> Any:
    name, pretrained = _source(named, located)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*TorchScript archive")  # refused below, in our words
            return open_clip.create_model(
                name,
                pretrained=pretrained,
                pretrained_text=False,
                require_pretrained=True,
                weights_only=True,
                force_quick_gelu=known.quick_gelu,
                force_preprocess_cfg={k: v for k, v in known.preprocess.items() if k != "size"},
            )
    except OSError as error:
        raise _elsewhere(known, located) from error
    except (RuntimeError, ValueError, KeyError, AssertionError, pickle.UnpicklingError) as error:
        if "TorchScript" in str(error):
            raise Refused(
                f"{located.file} is a TorchScript archive, which could run code; "
                "fetch the .safetensors file of the same weights"
            ) from error
        raise Refused(f"{located.file} does not fit {named.typed}: {_first_line(error)}") from error


def _tokenizer(named: Named, located: Located, known: Settings) -> Any:
    try:
        return open_clip.get_tokenizer(_source(named, located)[0])
    except (OSError, ValueError) as error:
        raise _elsewhere(known, located) from error


def _elsewhere(known: Settings, located: Located) -> WeightsMissing:
    """Some models keep their text configuration or tokenizer in a second repository."""
    text = known.model.get("text_cfg", {})
    repos = sorted({str(text[k]) for k in ("hf_model_name", "hf_tokenizer_name") if text.get(k)})
    return WeightsMissing(
        f"the weights are at {located.file}, but the text tower also needs configuration and tokenizer of "
        f"{' and '.join(repos) or 'its model'}; fetch them with a network ('hf download {' '.join(repos)}') "
        "and copy Hugging Face's cache folder here"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
