"""Opening a slide by the library of its format, and what to say of files that are not the slide itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

from embedstore.contracts.record import Cut, Header, Skip, Source
from embedstore.errors import ReadFailure
from embedstore.readers.dicom_file import DicomFile, parse, shape_of
from embedstore.readers.dicom_header import header_of
from embedstore.readers.quiet import quiet_pydicom
from embedstore.readers.slide_dicom import DicomSlide, slide_facts
from embedstore.readers.slide_formats import head_of, is_dicom_slide, is_slide, path_of
from embedstore.readers.slide_openslide import OpenSlideSlide
from embedstore.readers.slide_pyramid import OVERVIEW_SIDE, Slide
from embedstore.readers.slide_series import (
    VOLUME,
    Siblings,
    SlideFile,
    serving,
    serving_overview,
    slide_file,
    with_assumed,
)
from embedstore.readers.slide_tiles import canonical, plausible
from embedstore.settings import Limits

_OTHERS = {
    "LABEL": "label image: may identify the patient",
    "OVERVIEW": "overview of the slide",
    "LOCALIZER": "overview of the slide",
    "THUMBNAIL": "thumbnail of the slide",
}
_NOT_A_SLIDE = "not a whole slide"
_NO_TILE = "there is no such tile on the slide"


@dataclass(frozen=True, slots=True)
class Opened:
    """An open slide. assumed: microns per pixel that the user gave, None when the slide says its own."""

    slide: Slide
    header: Header
    assumed: float | None


def open_to_describe(source: Source, cut: Cut, siblings: Siblings, limits: Limits) -> Opened | Skip:
    """The slide with all levels that can be found, or the reason why this file of it yields no items.

    Raises ReadFailure.
    """
    assumed = _assumption(cut)
    if not is_dicom_slide(_checked_head(source, limits)):
        slide = OpenSlideSlide(path_of(source), assumed)
        return Opened(slide, Header(modality="SM"), assumed if slide.assumes else None)
    file = _parsed(source, limits)
    own = slide_file(path_of(source), file.header)
    if own.flavour != VOLUME:
        return Skip(source=source, reason=_OTHERS.get(own.flavour, "not an image of the slide's pyramid"))
    levels = siblings.levels_of(own) if own.width else [own]
    if assumed is not None:
        levels = with_assumed(levels, assumed)
    placed = next(one for one in levels if one.path == own.path)
    if reason := _other_level(levels, placed, cut):
        return Skip(source=source, reason=reason)
    with quiet_pydicom():
        files, facts = slide_facts(file.header, placed, levels)
        header = header_of(file, shape_of(file, limits))
    given = canonical(placed.mpp[0]) if placed.mpp is not None and own.mpp is None else None
    return Opened(DicomSlide(files, facts), header, given)


def open_to_read(source: Source, assumed: float | None, limits: Limits) -> Slide:
    """The slide of this file alone. assumed: its resolution, as the part says. Raises ReadFailure."""
    if not is_dicom_slide(_checked_head(source, limits)):
        opened = OpenSlideSlide(path_of(source), assumed)
        if assumed is not None and not opened.assumes:
            opened.close()
            raise ReadFailure(_NO_TILE)
        return opened
    file = _parsed(source, limits)
    own = slide_file(path_of(source), file.header)
    if own.flavour != VOLUME or (assumed is not None and own.mpp is not None):
        raise ReadFailure(_NO_TILE)
    if assumed is not None:
        own = replace(own, mpp=(assumed, assumed))
    with quiet_pydicom():
        files, facts = slide_facts(file.header, own, [own])
    return DicomSlide(files, facts)


def _checked_head(source: Source, limits: Limits) -> bytes:
    head = head_of(source)
    if not is_slide(source, head, limits):
        raise ReadFailure(_NOT_A_SLIDE)
    return head


def _parsed(source: Source, limits: Limits) -> DicomFile:
    with source.open() as stream:
        return parse(stream, source.size, limits)


def _assumption(cut: Cut) -> float | None:
    if cut.assume_mpp is None:
        return None
    if not plausible(cut.assume_mpp):
        raise ReadFailure("--assume-mpp must be from 0.02 to 20 microns per pixel")
    return canonical(cut.assume_mpp)


def _other_level(levels: list[SlideFile], own: SlideFile, cut: Cut) -> str | None:
    """Why another file of the slide yields its items, None when it is this one."""
    if not own.width:
        return None
    if cut.unit == "image":
        best = serving_overview(levels, own, OVERVIEW_SIDE)
        return None if best is own else "a level of a slide; another of its files serves the overview"
    if own.mpp is None or serving(levels, own, cut.mpp) is own:
        return None
    return f"a level of a slide; another of its files serves {cut.mpp:.4g} microns per pixel better"
