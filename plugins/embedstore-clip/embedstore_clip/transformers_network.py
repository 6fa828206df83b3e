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
from embedstore_clip.vocabulary import check_vocabulary


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
        except Exception as error:  # a damaged or hostile file makes the loaders raise anything at all
            raise Refused(f"{folder} cannot be loaded: {_first_line(error)}") from error
        untrained = sorted({*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])})
        if untrained:
            raise Refused(
                f"{folder} has no fitting weights for {len(untrained)} parts of the model: {untrained[0]} ..."
            )
        super().__init__(model, device, precision)
        self.image_side: nn.Module = _ImageSide(model)
        self._clip = config["model_type"] == "clip"
        # SigLIP 2 has Gemma's tokenizer and saw lower case only, which its published tokenizer leaves to us.
        self._lower = not self._clip and "gemma" in type(self._tokenizer).__name__.lower()
        self.reading = {} if self._clip else {"padding": "to the whole context, attended to"}
        if self._lower:
            self.reading["case"] = "lower"
        check_vocabulary(len(self._tokenizer), int(model.config.text_config.vocab_size), str(folder))
        self.context = int(model.config.text_config.max_position_embeddings)
        self.logit_scale: float | None = float(model.logit_scale.detach().float().exp())
        bias = getattr(model, "logit_bias", None)
        self.logit_bias: float | None = None if bias is None else float(bias.detach().float())

    def texts(self, texts: Sequence[str]) -> F32:
        """n texts, cut off at the context, to (n, dim).

        SigLIP was trained on padding to its full context, and attends to it: no mask.
        """
        self._claim_threads()
        encoded = self._tokenizer(
            [text.lower() if self._lower else text for text in texts],
            padding=True if self._clip else "max_length",
            truncation=True,
            max_length=self.context,
            return_tensors="pt",
        )
        kept = ("input_ids", "attention_mask") if self._clip else ("input_ids",)
        inputs = {key: value.to(self._device) for key, value in encoded.items() if key in kept}
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
