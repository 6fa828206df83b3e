"""transformers' CLIP and SigLIP behind the `Network` protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from embedstore_torch.forward import OnDevice, rows
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from embedstore.contracts.image import F32
from embedstore.errors import Refused
from embedstore_clip.quiet import offline


class TransformersNetwork(OnDevice):
    """A model and its tokenizer from one local folder; no code from the folder is run."""

    def __init__(self, folder: Path, config: Mapping[str, Any], device: str, precision: str) -> None:
        """Raises Refused when weights are missing for a part of the model, or the files do not fit it."""
        try:
            with offline():
                model, info = AutoModel.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
                )
                self._tokenizer = AutoTokenizer.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise Refused(f"{folder} cannot be loaded: {_first_line(error)}") from error
        untrained = sorted({*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])})
        if untrained:
            raise Refused(
                f"{folder} has no fitting weights for {len(untrained)} parts of the model: {untrained[0]} ..."
            )
        super().__init__(model, device, precision)
        self.image_side: nn.Module = _ImageSide(model)
        self._clip = config["model_type"] == "clip"
        self.context = int(model.config.text_config.max_position_embeddings)
        self.logit_scale: float | None = float(model.logit_scale.detach().float().exp())
        bias = getattr(model, "logit_bias", None)
        self.logit_bias: float | None = None if bias is None else float(bias.detach().float())

    def texts(self, texts: Sequence[str]) -> F32:
        """n texts, cut off at the context, to (n, dim). SigLIP was trained on padding to its full context."""
        self._claim_threads()
        encoded = self._tokenizer(
            list(texts),
            padding=True if self._clip else "max_length",
            truncation=True,
            max_length=self.context,
            return_tensors="pt",
        )
        inputs = {k: v.to(self._device) for k, v in encoded.items() if k in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            return rows(_pooled(self._model.get_text_features(**inputs)))

    def fits(self, text: str) -> bool:
        """Whether the text is not longer than the context."""
        return len(self._tokenizer(text, truncation=False, verbose=False)["input_ids"]) <= self.context


class _ImageSide(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model: Any = model

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) prepared images to (n, dim)."""
        return _pooled(self._model.get_image_features(pixel_values=images))


def _pooled(output: Any) -> Tensor:
    """transformers 5 answers with an output object, 4 with the tensor itself."""
    found: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
