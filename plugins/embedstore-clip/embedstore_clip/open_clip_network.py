"""open_clip's models behind the `Network` protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from embedstore_torch.forward import OnDevice, rows
from torch import Tensor, nn

from embedstore.contracts.encoder import LoadRequest
from embedstore.contracts.image import F32
from embedstore_clip.last_block import shorten
from embedstore_clip.open_clip_catalog import Located, Named, Settings
from embedstore_clip.open_clip_loading import create, tokenizer_of
from embedstore_clip.quiet import offline
from embedstore_clip.vocabulary import check_vocabulary


class OpenClipNetwork(OnDevice):
    """A model with the weights that were located, its tokenizer and its preprocessing settings."""

    def __init__(self, named: Named, located: Located, known: Settings, request: LoadRequest) -> None:
        """Raises Refused when the checkpoint does not fit, WeightsMissing for parts kept elsewhere."""
        with offline():
            model = create(named, located, known, request.trust)
            self._tokenizer = tokenizer_of(named, located, known)
        _check_vocabulary(model, self._tokenizer, located)
        shorten(getattr(model, "visual", None))
        super().__init__(model, request.device, request.precision)
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


def _check_vocabulary(model: Any, tokenizer: Any, located: Located) -> None:
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is not None:
        rows_ = int(getattr(getattr(model, "text", model), "vocab_size", 0))
        check_vocabulary(len(inner), rows_, str(located.folder or located.file))


class _ImageSide(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model: Any = model

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) prepared images to (n, dim)."""
        vectors: Tensor = self._model.encode_image(images)
        return vectors
