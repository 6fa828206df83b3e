"""What open_clip knows by name and where its weights may lie, found out without importing torch."""

from __future__ import annotations

import builtins
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from embedstore.contracts.encoder import LoadRequest
from embedstore.errors import Refused, UsageError

PLUGIN = "open-clip"
CONFIG = "open_clip_config.json"
_HUB = "hf-hub:"
_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
_USUAL = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
)
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode", "fill_color", "size")
_SHOWN = 8
_ALIAS = "_embedstore_clip_tables"


@dataclass(frozen=True, slots=True)
class Named:
    """What stands after `open-clip:`. Exactly one of model, repo and folder is set, or none ("open-clip").

    model, tag: a built-in architecture and the name of its pretrained weights. repo: a Hugging Face
    repository with an open_clip_config.json. folder: the same, on this machine.
    """

    typed: str
    model: str = ""
    tag: str = ""
    repo: str = ""
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Located:
    """Weights that were found: a folder with its own configuration, or a file for a built-in architecture."""

    file: Path
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What is known of a model before loading. preprocess: open_clip's `PreprocessCfg` as a dictionary."""

    model: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    quick_gelu: bool = False


def parse(name: str) -> Named:
    """Read `open-clip:MODEL[/PRETRAINED]`, `open-clip:hf-hub:ORG/REPO` or `open-clip:FOLDER`.

    Raises UsageError with the nearest names.
    """
    plugin, _, argument = name.partition(":")
    if plugin != PLUGIN:
        raise UsageError(f"'{name}' is not an open-clip encoder; say open-clip:MODEL/PRETRAINED")
    if not argument:
        return Named(name)
    if argument.startswith(_HUB):
        repo = argument[len(_HUB) :]
        if repo.count("/") != 1 or not all(repo.split("/")):
            raise UsageError(f"'{name}': say open-clip:hf-hub:ORG/REPO")
        return Named(name, repo=repo)
    if (Path(argument) / CONFIG).is_file():
        return Named(name, folder=Path(argument))
    model, _, tag = argument.partition("/")
    known = _models()
    if model not in known:
        near = get_close_matches(model, known, n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(
            f"open_clip knows no model '{model}'; {hint}a folder would need {CONFIG}, "
            "a repository is open-clip:hf-hub:ORG/REPO"
        )
    if tag and tag not in tags(model):
        raise UsageError(f"{model} has no pretrained weights '{tag}'; it has {_listed(tags(model))}")
    return Named(name, model=model, tag=tag)


def settings(named: Named, located: Located | None = None) -> Settings:
    """Architecture and preprocessing by name, or those of the folder that was found.

    Raises Refused for a damaged configuration, UsageError when the name leaves the preprocessing open.
    """
    folder = located.folder if located is not None else named.folder
    if folder is not None:
        whole = _read(folder / CONFIG)
        model = whole.get("model_cfg")
        if not isinstance(model, dict):
            raise Refused(f"{folder / CONFIG} has no model_cfg; fetch it again")
        given = whole.get("preprocess_cfg") or {}
        chosen = {key: given[key] for key in _PREPROCESS if given.get(key) is not None}
        chosen.setdefault("size", model.get("vision_cfg", {}).get("image_size", 224))
        return Settings(model, chosen)
    if not named.model:
        return Settings()
    model = _read(_package() / "model_configs" / f"{named.model}.json")
    size = {"size": model["vision_cfg"].get("image_size", 224)}
    known = tags(named.model)
    if named.tag:
        entry = known[named.tag]
        return Settings(model, _preprocess(entry) | size, bool(entry.get("quick_gelu")))
    distinct = [_preprocess(entry) for entry in known.values()]
    if len(known) > 0 and any(one != distinct[0] for one in distinct):
        raise UsageError(
            f"the pretrained weights of {named.model} differ in their preprocessing; say which yours are: "
            f"open-clip:{named.model}/PRETRAINED with one of {_listed(known)}"
        )
    return Settings(model, (distinct[0] if distinct else {}) | size)


def _preprocess(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in _PREPROCESS if entry.get(key) is not None}


def tags(model: str) -> Mapping[str, Mapping[str, Any]]:
    """The pretrained weights of a built-in architecture: where they are published and how to preprocess."""
    found: Mapping[str, Mapping[str, Any]] = _tables()._PRETRAINED.get(model, {})
    return found


def _listed(known: Mapping[str, Any]) -> str:
    names = list(known)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "") or "none published"


def find(named: Named, request: LoadRequest) -> tuple[Located | None, tuple[str, ...]]:
    """The first weights found, and the places searched.

    `request.weights` alone when given; else the weights folder (MODEL/PRETRAINED, MODEL, ORG--REPO, REPO, or
    the published file name), then the caches of Hugging Face and open_clip.
    Raises UsageError when `request.weights` does not exist.
    """
    searched: list[str] = []
    for place in _places(named, request):
        searched.append(str(place))
        located = _look(place, named)
        if located is not None:
            return located, tuple(searched)
    return None, tuple(searched)


def _places(named: Named, request: LoadRequest) -> Iterator[Path]:
    if request.weights is not None:
        if not request.weights.exists():
            raise UsageError(f"no such weights: {request.weights}")
        yield request.weights
        return  # what was named is meant: nothing else is taken in its place
    if named.folder is not None:
        yield named.folder
    entry = tags(named.model).get(named.tag, {}) if named.model else {}
    published = Path(str(entry.get("url") or "")).name
    if (base := request.weights_folder) is not None:
        if named.model:
            yield from ([base / named.model / named.tag] if named.tag else [])
            yield base / named.model
            if published:
                yield base / published
        if named.repo:
            yield base / named.repo.replace("/", "--")
            yield base / named.repo.split("/")[1]
    repo, _, file = str(entry.get("hf_hub") or "").rpartition("/")
    if named.repo or repo:
        yield from _cached(named.repo or repo, file)
    if published:
        yield Path.home() / ".cache" / "clip" / published


def _cached(repo: str, file: str) -> Iterator[Path]:
    """Files of a repository in Hugging Face's cache; a snapshot with a configuration counts as a folder."""
    from huggingface_hub import try_to_load_from_cache

    names = [Path(file).with_suffix(".safetensors").name, file] if file else list(_USUAL)
    for name in (CONFIG, *names):
        path = try_to_load_from_cache(repo, name)
        if isinstance(path, str):
            yield Path(path).parent if name == CONFIG else Path(path)


def _look(place: Path, named: Named) -> Located | None:
    if place.is_file():
        if not named.model and (place.parent / CONFIG).is_file() and place.suffix in _SUFFIXES:
            return Located(place, folder=place.parent)
        if not named.model:
            raise UsageError(
                f"{place} is a file; a model that is not built in needs its folder with {CONFIG}"
            )
        if place.suffix not in _SUFFIXES:
            raise UsageError(f"{place}: weights end in {', '.join(_SUFFIXES)}")
        return Located(place)
    files = sorted(path for path in place.glob("*") if path.suffix in _SUFFIXES) if place.is_dir() else []
    if not files:
        return None
    usual = {name: rank for rank, name in enumerate(_USUAL)}
    best = min(files, key=lambda path: (usual.get(path.name, len(usual)), _SUFFIXES.index(path.suffix)))
    if (place / CONFIG).is_file():
        return Located(best, folder=place)
    return Located(best) if named.model else None


def remedy(named: Named) -> str:
    """One line: what to fetch and where to put it."""
    if named.repo:
        return _fetch(f"the repository {named.repo}", named.repo, named.repo.replace("/", "--"))
    if not named.model:
        return "say which model: open-clip:MODEL/PRETRAINED, open-clip:hf-hub:ORG/REPO or open-clip:FOLDER"
    if not named.tag:
        known = _listed(tags(named.model))
        return (
            f"{named.model} alone names no weights; say open-clip:{named.model}/PRETRAINED ({known}), "
            "or give your own checkpoint with --weights FILE"
        )
    entry = tags(named.model)[named.tag]
    place = f"{named.model}/{named.tag}"
    if hub := str(entry.get("hf_hub") or ""):
        repo, _, file = hub.rpartition("/")
        return _fetch(f"{file or _USUAL[0]} from the repository {repo}", repo, place)
    url = str(entry.get("url") or "")
    return f"fetch {url} and put it into {place}/ in the folder that EMBEDSTORE_WEIGHTS names"


def _fetch(what: str, repo: str, place: str) -> str:
    return (
        f"fetch {what} (https://huggingface.co/{repo}) and put it into {place}/ in the folder that "
        "EMBEDSTORE_WEIGHTS names, or name it with --weights"
    )


def _package() -> Path:
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("open_clip is not installed; 'pip install open_clip_torch'")
    return Path(spec.submodule_search_locations[0])


@cache
def _models() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (_package() / "model_configs").glob("*.json")))


@cache
def _tables() -> ModuleType:
    """open_clip's table of pretrained weights, without the torch that `import open_clip` brings.

    The module is run under another parent for its relative imports, and with an `import` that finds neither
    safetensors (whose torch part imports torch) nor huggingface_hub: it copes, and only loses downloading.
    """
    parent = ModuleType(_ALIAS)
    parent.__path__ = [str(_package())]
    sys.modules.setdefault(_ALIAS, parent)
    spec = importlib.util.find_spec(f"{_ALIAS}.pretrained")
    if spec is None or spec.loader is None:
        raise UsageError("this version of open_clip has no table of pretrained weights; install 2.32 to 3.x")
    module = importlib.util.module_from_spec(spec)
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": _light_import}
    spec.loader.exec_module(module)
    return module


def _light_import(name: str, *rest: Any) -> Any:
    if name.partition(".")[0] in ("safetensors", "huggingface_hub"):
        raise ImportError(name)
    return __import__(name, *rest)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read as JSON; fetch it again") from error
    if not isinstance(found, dict):
        raise Refused(f"{path} is not a JSON object; fetch it again")
    return found
