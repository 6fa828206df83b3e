"""A head as two files that carry no code: head.json, its card, and head.safetensors, its arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from embedstore.errors import BadInputFile, StoreDamaged
from embedstore.learning.heads.record import FittedHead

CARD, ARRAYS = "head.json", "head.safetensors"
_FORMAT = "embedstore head 1"


def save_head(head: FittedHead, folder: Path) -> None:
    """Write a head into a folder, made when missing. Raises BadInputFile when it cannot be written."""
    from safetensors.numpy import save_file

    card = {"format": _FORMAT, **head.to_json()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(one) for name, one in head.arrays.items()}, folder / ARRAYS)
        (folder / CARD).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInputFile(f"{folder}: cannot be written: {error.strerror}") from None


def load_head(folder: Path) -> FittedHead:
    """The head of a folder. Raises BadInputFile when it has none, StoreDamaged when its files do not fit."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        arrays = load_file(folder / ARRAYS)
    except OSError as error:
        raise BadInputFile(f"{folder}: holds no {CARD} and {ARRAYS}: {error.strerror}") from None
    except (ValueError, SafetensorError) as error:
        raise StoreDamaged(f"{folder}: cannot be read as a head ({type(error).__name__})") from None
    if not isinstance(card, dict) or card.pop("format", None) != _FORMAT:
        raise BadInputFile(f"{folder / CARD}: is not the card of a head ('{_FORMAT}')")
    return FittedHead.restore(card, arrays)
