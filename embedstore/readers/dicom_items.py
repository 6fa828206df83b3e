"""The assets of one DICOM object: which parts it has under a cut, each with its header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from embedstore.contracts.record import Asset, Cut, Header, Scalar, Source
from embedstore.readers.dicom_file import DicomFile, Shape
from embedstore.readers.dicom_frames import Part, chosen, kind_of, parts_of
from embedstore.readers.dicom_geometry import plane_of
from embedstore.readers.dicom_header import frame_header, header_of
from embedstore.readers.dicom_mosaic import Mosaic, is_mosaic, mosaic_of
from embedstore.readers.dicom_stack import whole_key
from embedstore.readers.dicom_stacks import step_between

WHOLE, FRAME, SLICE, VOLUME = "image", "frame/", "slice", "volume"


def whole_assets(source: Source, reader: str, file: DicomFile, shape: Shape, cut: Cut) -> Iterator[Asset]:
    """The assets of an image object. Frames of one whole share one mapping of attributes in memory.

    Attributes besides those of the header: `Mosaic` (slices in a Siemens mosaic, or "unknown"), and `Spacing`
    "uneven" on slices of a stack that has gaps or unequal steps.
    """
    header = header_of(file, shape)
    if shape.frames == 1:
        yield from _single(source, reader, file, header, cut)
    elif cut.unit == "image":
        yield Asset(source=source, part=WHOLE, reader=reader, header=header)
    else:
        yield from _many(source, reader, file, shape, header, cut)


def key_of(source: Source, header: Header) -> str:
    """What identifies the object: its UID, or its place when it has none."""
    return header.sop_uid or source.path


def _single(source: Source, reader: str, file: DicomFile, header: Header, cut: Cut) -> Iterator[Asset]:
    if not is_mosaic(file.header):
        yield Asset(source=source, part=WHOLE, reader=reader, header=header)
        return
    mosaic = mosaic_of(file.header)
    slices: Scalar = mosaic.slices if mosaic is not None else "unknown"
    flagged = replace(header, position_mm=None, extra={**header.extra, "Mosaic": slices})
    if mosaic is None or cut.unit == "image":
        yield Asset(source=source, part=WHOLE, reader=reader, header=replace(flagged, whole=None))
        return
    whole = whole_key("mosaic", key_of(source, header))
    flagged = replace(flagged, whole=whole, rows=mosaic.rows, columns=mosaic.columns)
    if cut.unit == "volume":
        yield Asset(source=source, part=VOLUME, reader=reader, header=flagged)
        return
    yield from _mosaic_slices(source, reader, mosaic, flagged, cut)


def _mosaic_slices(source: Source, reader: str, mosaic: Mosaic, header: Header, cut: Cut) -> Iterator[Asset]:
    for index in range(0, mosaic.slices, max(cut.every or 1, 1)):
        part = f"{SLICE}/{index + 1}"
        yield Asset(source=source, part=part, reader=reader, header=replace(header, part_number=index + 1))


def _many(
    source: Source, reader: str, file: DicomFile, shape: Shape, header: Header, cut: Cut
) -> Iterator[Asset]:
    ds = file.header
    wholes = parts_of(ds, shape.frames, key_of(source, header))
    stack = kind_of(ds) == "stack"
    extras = {whole[0].whole: _extra(file, header, whole, stack) for whole in wholes if whole}
    if stack and cut.unit == "volume":
        for number, whole in enumerate(wholes, 1):
            part = VOLUME if len(wholes) == 1 else f"{VOLUME}/{number}"
            first = frame_header(header, ds, whole[0], extras[whole[0].whole])
            volume = replace(first, frame=None, part_number=None, position_mm=None)
            yield Asset(source=source, part=part, reader=reader, header=volume)
        return
    for one in chosen(ds, wholes, cut):
        yield Asset(
            source=source,
            part=f"{FRAME}{one.index + 1}",
            reader=reader,
            header=frame_header(header, ds, one, extras[one.whole]),
        )


def _extra(file: DicomFile, header: Header, whole: list[Part], stack: bool) -> dict[str, Scalar]:
    extra = dict(header.extra)
    if stack:
        planes = [plane_of(file.header, part.index) for part in whole]
        known = [plane for plane in planes if plane is not None]
        step = step_between(known) if len(known) == len(whole) else None
        if step is not None and not step[1]:
            extra["Spacing"] = "uneven"
    return extra
