"""What stands after `timm:`, and where its weights may lie; neither torch nor timm is imported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstore.contracts.encoder import LoadRequest
from embedstore.encoders.weights import hub_snapshots
from embedstore.errors import Refused, UsageError

PLUGIN = "timm"
CONFIG = "config.json"
_HUB = "hf-hub:"
_FILES = ("model.safetensors", "pytorch_model.bin", "model.pth", "pytorch_model.pth")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True, slots=True)
class Named:
    """One of model (`vit_base_patch14_dinov2.lvd142m`), repo (`ORG/REPO`), folder is set, or none."""

    model: str = ""
    repo: str = ""
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Located:
    """Weights that were found. config: timm's own `config.json` beside them, {} when there is none."""

    file: Path
    config: Mapping[str, Any]


def parse(name: str) -> Named:
    """Read `timm:MODEL[.TAG]`, `timm:hf-hub:ORG/REPO` or `timm:FOLDER`. Raises UsageError."""
    plugin, _, argument = name.partition(":")
    if plugin != PLUGIN:
        raise UsageError(f"'{name}' is not a timm encoder; say timm:MODEL")
    if argument.startswith(_HUB):
        repo = argument[len(_HUB) :]
        if repo.count("/") != 1 or not all(repo.split("/")):
            raise UsageError(f"'{name}': say timm:hf-hub:ORG/REPO")
        return Named(repo=repo)
    if (Path(argument) / CONFIG).is_file() and argument:
        return Named(folder=Path(argument))
    if "/" in argument:
        raise UsageError(f"'{name}': there is no {argument}/{CONFIG}; a repository is timm:hf-hub:ORG/REPO")
    return Named(model=argument)


def find(named: Named, request: LoadRequest) -> tuple[Located | None, tuple[str, ...]]:
    """The first weights found, and the places searched: what `request` names alone, else the folder, the
    weights folder (MODEL.safetensors, MODEL/, ORG--REPO/, REPO/), Hugging Face's cache.

    Raises UsageError when what was named does not exist, Refused for a damaged configuration.
    """
    searched: list[str] = []
    for place in _places(named, request):
        searched.append(str(place))
        file = next((path for path in _candidates(place) if path.is_file()), None)
        if file is not None:
            return Located(file, read_config(file.parent)), tuple(searched)
    return None, tuple(searched)


def _places(named: Named, request: LoadRequest) -> Iterator[Path]:
    if request.weights is not None:
        if not request.weights.exists():
            raise UsageError(f"no such weights: {request.weights}")
        yield request.weights
        return
    if named.folder is not None:
        yield named.folder
        return
    names = [named.model] if named.model else []
    if named.repo:
        names = [named.repo.replace("/", "--"), named.repo.split("/")[1]]
    for name in names if request.weights_folder is not None else ():
        yield from (request.weights_folder / f"{name}{suffix}" for suffix in _SUFFIXES)
        yield request.weights_folder / name
    repo = named.repo or (f"timm/{named.model}" if named.model else "")
    for file in _FILES if repo else ():
        yield from hub_snapshots(repo, file)


def _candidates(place: Path) -> list[Path]:
    return [place / file for file in _FILES] if place.is_dir() else [place]


def read_config(folder: Path) -> dict[str, Any]:
    """timm's `config.json` in a folder: {} when there is none or it is another library's. Raises Refused."""
    path = folder / CONFIG
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read as JSON; fetch it again") from error
    return found if isinstance(found, dict) and isinstance(found.get("architecture"), str) else {}


def data_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data configuration in a `config.json`, which older ones have at the top."""
    inner = config.get("pretrained_cfg")
    return inner if isinstance(inner, dict) else config


def remedy(named: Named) -> str:
    """What to fetch and where to put it."""
    if named.folder is not None:
        return f"{named.folder} has no weights; it should hold {_FILES[0]}"
    if not named.model and not named.repo:
        return "say which model: timm:MODEL, for example timm:vit_base_patch14_dinov2.lvd142m"
    repo = named.repo or f"timm/{named.model}"
    place = named.repo.replace("/", "--") or named.model
    return (
        f"fetch {_FILES[0]} and {CONFIG} from the repository {repo} (https://huggingface.co/{repo}) and put "
        f"them into {place}/ in the folder that EMBEDSTORE_WEIGHTS names, or name a file with --weights"
    )
