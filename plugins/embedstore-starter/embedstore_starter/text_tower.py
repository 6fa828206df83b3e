"""all-MiniLM-L6-v2 in plain torch: a BERT of six layers, mean pooling, unit length.

Reimers & Gurevych 2019 (arXiv:1908.10084), Wang et al. 2020 (arXiv:2002.10957). A BERT layer is torch's
`TransformerEncoderLayer` with the norm after the sum, so the network is only its embeddings and a renaming
of tensors; tests hold it equal to transformers and sentence-transformers, which take several times longer
to import than this takes to answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from tokenizers import Tokenizer
from torch import Tensor, nn

from embedstore.contracts.image import F32
from embedstore.encoders.preprocess import batched
from embedstore.errors import Refused, UsageError

DIM, _LAYERS, _HEADS, _WIDE, _PIECES, _POSITIONS = 384, 6, 12, 1536, 30522, 512
WINDOW = 256
_INNER = WINDOW - 2  # word pieces between [CLS] and [SEP]
_BATCH = 16
_EPSILON = 1e-12


class MiniLM(nn.Module):
    """(n, t) word-piece ids and (n, t) mask to (n, 384) mean-pooled token states of length 1."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.words = nn.Embedding(_PIECES, DIM)
        self.positions = nn.Embedding(_POSITIONS, DIM)
        self.norm = nn.LayerNorm(DIM, eps=_EPSILON)
        self.register_buffer("segment", torch.zeros(DIM))
        layer = nn.TransformerEncoderLayer(
            DIM, _HEADS, _WIDE, dropout=0.0, activation="gelu", layer_norm_eps=_EPSILON, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.load_state_dict(_renamed(tensors))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """mask: bool, True for real tokens."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]] + self.segment
        x = self.layers(self.norm(x), src_key_padding_mask=~mask)
        weights = mask.unsqueeze(-1).to(x.dtype)
        pooled = (x * weights).sum(1) / weights.sum(1)
        return nn.functional.normalize(pooled, dim=1)


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a BERT checkpoint under the names of `MiniLM`."""
    found = {
        "words.weight": tensors["embeddings.word_embeddings.weight"],
        "positions.weight": tensors["embeddings.position_embeddings.weight"],
        "segment": tensors["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": tensors["embeddings.LayerNorm.weight"],
        "norm.bias": tensors["embeddings.LayerNorm.bias"],
    }
    places = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for number in range(_LAYERS):
        ours, theirs = f"layers.layers.{number}", f"encoder.layer.{number}"
        for kind in ("weight", "bias"):
            parts = [tensors[f"{theirs}.attention.self.{p}.{kind}"] for p in ("query", "key", "value")]
            found[f"{ours}.self_attn.in_proj_{kind}"] = torch.cat(parts)
            for mine, place in places.items():
                found[f"{ours}.{mine}.{kind}"] = tensors[f"{theirs}.{place}.{kind}"]
    return found


class TextTower:
    """Tokenizer and network on a device."""

    def __init__(self, tensors: bytes, tokenizer: bytes, device: str) -> None:
        """Raises Refused when the files are not MiniLM's, UsageError for an unknown device."""
        try:
            self._network = MiniLM(load_safetensors(tensors)).eval()
            self._tokenizer = Tokenizer.from_buffer(tokenizer)
        except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
            raise Refused("the starter's text weights are not those of all-MiniLM-L6-v2") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._start, self._end = (self._tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]"))
        try:
            self._device = torch.device(device)
            self._network.to(self._device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"device '{device}' cannot be used here; try --device cpu") from error

    def encode(self, texts: Sequence[str]) -> F32:
        """(n, 384) float32 of length 1.

        A text of more than 256 word pieces, which the original cuts off, is split into windows of nearly
        equal length; its vector is the mean of theirs, weighted by word pieces: the last sentence of a
        report, often its impression, counts as much as the first.
        """
        pieces = [
            encoding.ids
            for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]
        windows = [(row, window) for row, ids in enumerate(pieces) for window in _windows(ids)]
        windows.sort(key=lambda pair: len(pair[1]))  # texts of one length waste no padding
        sums = np.zeros((len(texts), DIM), dtype=np.float32)
        for chunk in batched(windows, _BATCH):
            vectors = self._forward([window for _, window in chunk])
            for (row, window), vector in zip(chunk, vectors, strict=True):
                sums[row] += vector * len(window) / max(1, len(pieces[row]))
        return _unit(sums)

    def _forward(self, windows: Sequence[Sequence[int]]) -> F32:
        length = max(map(len, windows)) + 2
        ids = torch.zeros((len(windows), length), dtype=torch.long)
        mask = torch.zeros((len(windows), length), dtype=torch.bool)
        for row, window in enumerate(windows):
            whole = [self._start, *window, self._end]
            ids[row, : len(whole)] = torch.tensor(whole)
            mask[row, : len(whole)] = True
        with torch.inference_mode():
            vectors: F32 = self._network(ids.to(self._device), mask.to(self._device)).cpu().numpy()
        return vectors


def _windows(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    count = max(1, -(-len(ids) // _INNER))
    edges = [round(len(ids) * n / count) for n in range(count + 1)]
    for start, stop in pairwise(edges):
        yield ids[start:stop]


def _unit(sums: F32) -> F32:
    """Rows at length 1; a text of one window keeps its vector to the last bit or two."""
    if not len(sums):
        return sums
    lengths: F32 = np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / lengths
