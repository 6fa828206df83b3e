"""Looking at files before they are ingested: what they are, what would be embedded, what an encoder gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.encoder import TowerSpec
from embedstore.contracts.image import F32, Image, ImageInput
from embedstore.contracts.record import HEADER_COLUMNS, WHOLE_CUT, Asset, Cut, Header, Report, Source
from embedstore.encoders.preprocess import Normalize, Recipe
from embedstore.engine.encoders import list_encoders, show_encoder
from embedstore.engine.inspect_many import FolderCard, inspect_sources
from embedstore.engine.requests import Progress, silent
from embedstore.engine.units import unit_of, why
from embedstore.errors import EmbedstoreError, NotFound, ReadFailure, UsageError
from embedstore.readers.choose import ReaderSet
from embedstore.readers.explained import Explained, display_words, explain
from embedstore.readers.sources import MEMBER_MARK, source_at
from embedstore.readers.walk import Unreachable, walk
from embedstore.settings import DEFAULT_ENCODER, Limits

U8 = NDArray[np.uint8]
_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectRequest:
    """encoder: whose recipe is applied, None for `starter` when it is installed.

    part: which item is shown, None for the middle one.
    """

    cut: Cut = WHOLE_CUT
    encoder: str | None = None
    profile: str = "default"
    part: str | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeCard:
    """What an encoder makes of the item. input: (C, H, W). refusal: why it cannot take it, else ""."""

    encoder: str
    steps: tuple[str, ...]
    input: tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCard:
    """One file. unit, why: what one item is and by which rule; items: how many; parts: the first of them.

    skips: reasons for what is no item. part: the item that is shown; its columns, attributes and display rule
    follow. stored: shape, range and spacing of its pixels. failure: why its pixels cannot be read, else "".
    """

    path: str
    bytes: int
    format: str
    facts: tuple[tuple[str, str], ...]
    items: int
    wholes: int
    parts: tuple[str, ...]
    reports: int
    skips: tuple[str, ...]
    reader: str | None = None
    unit: str | None = None
    why: str = ""
    part: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    display: str = ""
    stored: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    recipe: RecipeCard | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """A card with its pictures.

    shown: (H, W, 1 or 3) as the reader gives it for display, of a volume the middle slice. encoded:
    (h, w, 1 or 3) as the encoder gets it, brought back to 0..255 for the eye.
    """

    card: FileCard
    shown: U8 | None = None
    encoded: U8 | None = None


def inspect_path(
    path: str, request: InspectRequest, most: int, progress: Progress = silent
) -> Inspection | FolderCard:
    """Look at a file, or sum up a folder, archive or DICOMDIR of which at most `most` files are opened.

    path: also `ARCHIVE!/MEMBER`. Raises ReadFailure and NotFound; see `inspect_source`.
    """
    if MEMBER_MARK in path and not Path(path).exists():
        return inspect_source(source_at(path, request.limits), request)
    walked = walk([Path(path)], request.limits)
    first = list(islice(walked, 2))
    if len(first) == 1 and not Path(path).is_dir():
        if isinstance(first[0], Unreachable):
            raise ReadFailure(first[0].reason)
        return inspect_source(first[0], request)
    if request.part is not None:
        raise UsageError(f"{path}: --part is about one file, and this holds several; name one of them")
    every = chain(first, walked)
    return inspect_sources(str(Path(path).absolute()), every, request.cut, most, request.limits, progress)


def inspect_source(source: Source, request: InspectRequest) -> Inspection:
    """Look at one file or archive member.

    Raises ReadFailure (the file cannot be described), NotFound (no such part), UnknownPlugin, UsageError.
    """
    readers = ReaderSet.installed(request.limits)
    tower = _tower(request)
    found = _described(readers, source, request)
    if not found.assets:
        return Inspection(_card(source, found, explain(source, None, request.limits)))
    chosen = _chosen(found.assets, request.part, source.path)
    card = _card(source, found, explain(source, chosen.header.frame, request.limits))
    card = _with_item(card, chosen, request.cut)
    try:
        image = _read(readers, chosen)
    except ReadFailure as failure:
        return Inspection(replace(card, failure=failure.reason))
    card = replace(card, stored={**_geometry(image), **_values(readers, chosen)})
    if tower is None:
        return Inspection(card, flat(image))
    recipe, encoded = _applied(readers, chosen, *tower)
    return Inspection(replace(card, recipe=recipe), flat(image), encoded)


@dataclass(frozen=True, slots=True)
class _Found:
    assets: list[Asset]
    reports: int
    skips: tuple[str, ...]


def _described(readers: ReaderSet, source: Source, request: InspectRequest) -> _Found:
    assets: list[Asset] = []
    reports, skips = 0, dict[str, None]()
    try:
        for found in readers.describe(source, request.cut):
            if isinstance(found, Asset):
                assets.append(found)
            elif isinstance(found, Report):
                reports += 1
            else:
                skips[found.reason] = None
    except (EmbedstoreError, OSError, MemoryError):
        raise
    except Exception as error:  # a parser's own message may quote the file: only its kind is kept
        raise ReadFailure(f"damaged: its header cannot be read ({type(error).__name__})") from None
    return _Found(assets, reports, tuple(skips))


def _chosen(assets: list[Asset], part: str | None, path: str) -> Asset:
    if part is None:
        return assets[len(assets) // 2]
    for asset in assets:
        if asset.part == part:
            return asset
    known = ", ".join(asset.part for asset in assets[:_LISTED])
    raise NotFound(f"{path}: it has no part '{part}'; its {len(assets)} parts begin with {known}")


def _read(readers: ReaderSet, asset: Asset) -> Image:
    """The item as a screen shows it. Raises ReadFailure for whatever goes wrong."""
    try:
        return readers.read(asset, "display")
    except ReadFailure:
        raise
    except MemoryError:
        raise ReadFailure("too large for this machine's memory") from None
    except Exception as error:  # a decoder's own error may quote the file: only its kind is kept
        raise ReadFailure(f"unreadable ({type(error).__name__})") from None


def flat(image: Image) -> U8:
    """The picture itself; of a volume or loop its middle slice."""
    pixels = image.pixels if image.pixels.ndim == 3 else image.pixels[len(image.pixels) // 2]
    return np.asarray(pixels, np.uint8)


def _values(readers: ReaderSet, asset: Asset) -> dict[str, Any]:
    """The range of values behind the picture, when the reader gives them."""
    try:
        raw = readers.read(asset, "raw").pixels
    except (EmbedstoreError, MemoryError):
        return {}
    except Exception:  # the display picture was read: that is what counts
        return {}
    finite = raw[np.isfinite(raw)]
    return {"low": float(finite.min()), "high": float(finite.max())} if finite.size else {}


def _geometry(image: Image) -> dict[str, Any]:
    found: dict[str, Any] = {"shape": image.pixels.shape}
    if image.spacing_mm is not None:
        found["spacing_mm"] = tuple(float(value) for value in image.spacing_mm)
    if image.affine is not None:
        found["affine"] = np.asarray(image.affine).tolist()
    return found


def _tower(request: InspectRequest) -> tuple[str, TowerSpec] | None:
    """The image tower that is asked for; None when nothing was and the default is not installed."""
    name = request.encoder
    if name is None:
        if DEFAULT_ENCODER not in {spec.name for spec in list_encoders()}:
            return None
        name = DEFAULT_ENCODER
    tower = show_encoder(name, request.profile).tower("image")
    if tower is None:
        raise UsageError(f"encoder '{name}' reads texts only; choose another with --encoder")
    return name, tower


def _applied(readers: ReaderSet, asset: Asset, name: str, tower: TowerSpec) -> tuple[RecipeCard, U8 | None]:
    recipe = Recipe.from_json(tower.preprocess)
    steps = tuple(recipe.describe().split("; "))
    try:
        image = readers.read(asset, tower.wants)
        if image.pixels.ndim == 4:
            middle = image.pixels[len(image.pixels) // 2]
            image = Image(pixels=middle, intensity=image.intensity, spacing_mm=image.spacing_mm)
        values = recipe.apply(ImageInput(image))
    except ReadFailure as failure:
        return RecipeCard(encoder=name, steps=steps, refusal=failure.reason), None
    except EmbedstoreError as error:
        return RecipeCard(encoder=name, steps=steps, refusal=str(error)), None
    low, high = float(values.min()), float(values.max())
    card = RecipeCard(encoder=name, steps=steps, input=values.shape, low=low, high=high)
    return card, viewable(recipe, values)


def viewable(recipe: Recipe, values: F32) -> U8:
    """(C, H, W) network input to (H, W, C) for the eye: a last Normalize undone, else minimum and maximum."""
    pixels = values.transpose(1, 2, 0).astype(np.float64)
    last = next((step for step in reversed(recipe.steps) if isinstance(step, Normalize)), None)
    if last is not None:
        pixels = pixels * np.array(last.std) + np.array(last.mean)
        if pixels.max() > 2:  # normalised in units of 0..255
            pixels = pixels / 255
    low, high = float(pixels.min()), float(pixels.max())
    if last is None or low < -0.01 or high > 1.01:
        pixels = (pixels - low) / max(high - low, 1e-12)
    return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255), np.uint8)


def _card(source: Source, found: _Found, explained: Explained) -> FileCard:
    return FileCard(
        path=source.path,
        bytes=source.size,
        format=explained.format,
        facts=explained.facts,
        items=len(found.assets),
        wholes=len({asset.header.whole for asset in found.assets} - {None}),
        parts=tuple(asset.part for asset in found.assets[:_LISTED]),
        reports=found.reports,
        skips=found.skips,
        display=explained.display,
        remarks=explained.remarks,
    )


def _with_item(card: FileCard, asset: Asset, cut: Cut) -> FileCard:
    header = asset.header
    columns = {name: getattr(header, name) for name in HEADER_COLUMNS}
    unit = unit_of(asset.part, columns)
    kind = header.extra.get("slide_format")
    return replace(
        card,
        format=f"{card.format}, {kind} slide" if kind else card.format,
        reader=asset.reader,
        unit=unit,
        why=_sampled(why(unit, cut), card.items, header)
        if unit == "frame" and not cut.every
        else why(unit, cut),
        part=asset.part,
        columns=columns,
        attributes=dict(header.extra),
        display=display_words(asset.reader, asset.header) or card.display,
        remarks=(*card.remarks, *_missing(header)),
    )


def _sampled(rule: str, items: int, header: Header) -> str:
    frames = header.extra.get("NumberOfFrames")
    taken = isinstance(frames, int) and items < frames
    return f"{rule}: {items} of its {frames} frames, spread evenly" if taken else rule


def _missing(header: Header) -> list[str]:
    """What later steps will miss."""
    remarks = []
    if header.patient_id is None and header.patient_group is None:
        remarks.append("no patient identifier: the item will count as a patient of its own, flagged unknown")
    return remarks
