"""Where a checkpoint is looked for, and what to tell a person who has none. torch is not imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from embedstore.contracts.encoder import LoadRequest, WeightsReport
from embedstore.errors import WeightsMissing
from embedstore_medsam.model import Model

_MAGIC = (b"PK\x03\x04", b"\x80\x02")  # torch.save since 1.6 writes a zip archive, before that a pickle


def report(model: Model, file: str, request: LoadRequest) -> WeightsReport:
    """Whether the official `file` is here and looks like a checkpoint; nothing is loaded."""
    searched = []
    for path in _places(model, file, request):
        searched.append(str(path))
        if path.is_file():
            wrong = _unlike_a_checkpoint(path)
            return WeightsReport(
                state="unusable" if wrong else "present",
                path=str(path),
                remedy=wrong,
                searched=tuple(searched),
            )
    return WeightsReport(state="missing", remedy=_remedy(model, file, request), searched=tuple(searched))


def require(model: Model, file: str, request: LoadRequest) -> Path:
    """The file to load. Raises WeightsMissing, which says what to fetch and where to put it."""
    path = next((path for path in _places(model, file, request) if path.is_file()), None)
    if path is None:
        raise WeightsMissing(_remedy(model, file, request))
    return path


def _places(model: Model, file: str, request: LoadRequest) -> Iterator[Path]:
    if request.weights is not None and not request.weights.is_dir():
        yield request.weights  # a file is meant: nothing else is taken in its place
        return
    for folder in (request.weights, request.weights_folder):
        if folder is not None:
            yield folder / file
    if request.weights is None and model.repository:
        cached = _hub_cache() / f"models--{model.repository.replace('/', '--')}" / "snapshots"
        yield from sorted(cached.glob(f"*/{file}"))


def _hub_cache() -> Path:
    named = os.environ.get("HF_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    return Path(named) if named else Path(home) / "hub"


def _unlike_a_checkpoint(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            head = stream.read(256)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if head.startswith(_MAGIC):
        return ""
    if not head:
        return f"{path} is empty; download it again"
    if head.lstrip().startswith((b"<", b"{")):
        return f"{path} is a web page, not a checkpoint; download the file itself"
    if head.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not a checkpoint; download the file itself"
    return f"{path} is not a PyTorch checkpoint; download it again"


def _remedy(model: Model, file: str, request: LoadRequest) -> str:
    if request.weights is not None and not request.weights.exists():
        return f"no such weights: {request.weights}; give the path of {file}"
    return (
        f"{file} is not on this machine: {model.obtain} and put it into the folder that EMBEDSTORE_WEIGHTS "
        "names, or give its path with --weights"
    )
