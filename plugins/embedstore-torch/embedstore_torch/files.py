"""`torchscript:FILE` and `onnx:FILE`: a network that somebody exported, as an encoder of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from embedstore.contracts.encoder import Encoder, EncoderSpec, LoadRequest, TowerSpec, WeightsReport
from embedstore.encoders.preprocess import CropRoi, Normalize, Recipe, Rescale, Resize, ToRGB
from embedstore.encoders.weights import not_downloaded
from embedstore.errors import Refused, UsageError, WeightsMissing

Kind = Literal["torchscript", "onnx"]
_SIDE = 224
_NOTES = {
    "torchscript": "the file is a program: it runs only with --trust-code and its sha256",
    "onnx": "the file is data; graphs with operators of their own are refused",
}


@dataclass(frozen=True, slots=True)
class FileFactory:
    """Entry points `torchscript` and `onnx`. The network maps (n, 3, h, w) float32 to (n, dim).

    Preprocessing is what `FILE.yaml` says, a recipe as `encoders show` and `Recipe.to_json` have it;
    without that file the image is squeezed to the input's size and normalised with ImageNet's statistics.
    """

    kind: Kind

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template. Raises UsageError for another profile, Refused for a recipe that cannot be read."""
        path = self._path(name)
        if profile != "default":
            raise UsageError(f"encoder '{self.kind}' has no profile '{profile}'; write a recipe to FILE.yaml")
        recipe = read_recipe(path) if path is not None else None
        return EncoderSpec(
            name=name,
            version="1",
            towers=(
                TowerSpec(
                    kind="image",
                    dim=None,
                    preprocess=recipe.to_json() if recipe is not None else {},
                    pooling="the file's own",
                    wants=recipe.wants if recipe is not None else "display",
                ),
            ),
            licence="that of the file",
            source=str(path or f"{self.kind}:FILE"),
            notes=_NOTES[self.kind],
        )

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Whether the file is there; it is not opened."""
        path = request.weights or self._path(name)
        self.spec(name, request.profile)
        if path is None or not path.is_file():
            remedy = f"no file '{path}'" if path else f"say which file: {self.kind}:FILE"
            return WeightsReport(state="missing", remedy=remedy, searched=(str(path),) if path else ())
        wrong = not_downloaded(path)
        state = "unusable" if wrong else "present"
        return WeightsReport(state=state, path=str(path), remedy=wrong, searched=(str(path),))

    def load(self, name: str, request: LoadRequest) -> Encoder:
        """Load and bind. Raises WeightsMissing, Refused (not trusted, no network of images), UsageError."""
        template = self.spec(name, request.profile)
        path = request.weights or self._path(name)
        report = self.doctor(name, request)
        if path is None or report.state == "missing":
            raise WeightsMissing(report.remedy)
        if report.state == "unusable":
            raise Refused(report.remedy)
        return _loader(self.kind)(template, path, request)

    def _path(self, name: str) -> Path | None:
        plugin, _, argument = name.partition(":")
        if plugin != self.kind:
            raise UsageError(f"'{name}' is not a {self.kind} encoder; say {self.kind}:FILE")
        return Path(argument) if argument else None


def _loader(kind: Kind) -> Callable[[EncoderSpec, Path, LoadRequest], Encoder]:
    if kind == "onnx":
        from embedstore_torch.onnx_file import load

        return load
    from embedstore_torch.torchscript_file import load as load_program

    return load_program


def read_recipe(path: Path) -> Recipe | None:
    """The recipe in `FILE.yaml`, None when there is none. Raises Refused for what is no recipe."""
    beside = path.with_name(f"{path.name}.yaml")
    if not beside.is_file():
        return None
    try:
        found: Any = yaml.safe_load(beside.read_text(encoding="utf-8"))
        return Recipe.from_json(found if isinstance(found, dict) else {})
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Refused(f"{beside} cannot be read as YAML") from error
    except UsageError as error:
        raise Refused(f"{beside}: {error}") from error


def plain_recipe(height: int = _SIDE, width: int = _SIDE) -> Recipe:
    """For a file that comes without one."""
    return Recipe((CropRoi(), Resize(size=(height, width)), Rescale(divisor=255), ToRGB(), Normalize()))
