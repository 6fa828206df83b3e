"""Real images that installed packages carry in their wheels. Nothing is downloaded, nothing is copied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

_PYDICOM_LICENCE = "MIT (pydicom); samples from GDCM are BSD-3-Clause"
_NO_IMAGE = {".txt", ".json", ".dump", ".gz", ".icc"}

_SHOWN: Mapping[str, str] = {
    "CT_small.dcm": "CT of a vertebra, 128 x 128",
    "J2K_pixelrep_mismatch.dcm": "CT of the head, JPEG 2000, a wrong sign in its header",
    "MR_small.dcm": "MR, a detail of 64 x 64",
    "examples_overlay.dcm": "MR of the abdomen",
    "examples_rgb_color.dcm": "Ultrasound, colour Doppler, RGB",
    "examples_palette.dcm": "Ultrasound, palette colour",
    "examples_ybr_color.dcm": "Echocardiogram, 30 frames, YBR",
    "JPGExtended.dcm": "Bone scan, 12-bit JPEG",
}
_SKIMAGE: Mapping[str, tuple[str, str]] = {
    "retina.jpg": ("Fundus photograph of a healthy left eye (M. Häggström, 2014)", "CC0"),
    "microaneurysms.png": ("Microaneurysms, detail of a fundus (A. Maier; HRF database)", "CC0"),
    "ihc.png": (
        "Immunohistochemistry of colonic glands (CMMI)",
        "no known copyright restrictions",
    ),
    "cell.png": ("A cell in saline, quantitative phase image (Müller et al., 2018)", "CC0"),
}
_SKLEARN: Mapping[str, tuple[str, str]] = {
    "flower.jpg": ("Everyday photograph, for contrast", "CC BY 2.0"),
    "china.jpg": ("Everyday photograph, for contrast", "CC BY 2.0"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RealImage:
    """A file in an installed package. what: what it shows. origin: package and version.

    shown: worth a place on a page; the rest are test patterns, variants and objects without an image.
    """

    path: Path
    what: str
    origin: str
    licence: str
    shown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What was found. missing: a sentence for each package that is not here."""

    images: tuple[RealImage, ...]
    missing: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, to be ingested."""
        return tuple(image.path for image in self.images)


def gather() -> Gathered:
    """Look into pydicom, scikit-image and scikit-learn where they are installed, without importing them."""
    images: list[RealImage] = []
    missing: list[str] = []
    pydicom = _folder("pydicom", "data/test_files")
    if pydicom is None:
        missing.append("pydicom carries no test files here: no real DICOM images.")
    else:
        images += _dicom(pydicom)
    for package, distribution, below, table in (
        ("skimage", "scikit-image", "data", _SKIMAGE),
        ("sklearn", "scikit-learn", "datasets/images", _SKLEARN),
    ):
        folder = _folder(package, below)
        found = [] if folder is None else _named(folder, distribution, table)
        images += found
        if len(found) < len(table):
            names = ", ".join(sorted(set(table) - {image.path.name for image in found}))
            missing.append(f"{distribution} is not installed or carries no {names}: fewer real images.")
    return Gathered(images=tuple(images), missing=tuple(missing))


def _folder(package: str, below: str) -> Path | None:
    """A folder inside a package, found without importing the package: that would take seconds."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / below).is_dir():
            return Path(place) / below
    return None


def _origin(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return distribution


def _dicom(folder: Path) -> list[RealImage]:
    """Every DICOM file of pydicom's tests, also those that are no image or are broken on purpose."""
    origin = _origin("pydicom")
    return [
        RealImage(
            path=path,
            what=_SHOWN.get(path.name, "DICOM test file"),
            origin=origin,
            licence=_PYDICOM_LICENCE,
            shown=path.name in _SHOWN,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _is_sample(path)
    ]


def _is_sample(path: Path) -> bool:
    """Not a note, not an index of files, and not of the set that has headers only."""
    stem = path.name.partition(".")[0]
    other = path.suffix.lower() in _NO_IMAGE or stem == "README" or stem.startswith("DICOMDIR")
    return not other and "TINY_ALPHA" not in path.parts


def _named(folder: Path, distribution: str, table: Mapping[str, tuple[str, str]]) -> list[RealImage]:
    origin = _origin(distribution)
    return [
        RealImage(path=folder / name, what=what, origin=origin, licence=licence, shown=True)
        for name, (what, licence) in table.items()
        if (folder / name).is_file()
    ]
