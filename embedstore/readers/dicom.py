"""The DICOM reader: headers to assets, frames to pixels as a radiologist's screen shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import Image, Intensity
from embedstore.contracts.record import WHOLE_CUT, Asset, Cut, Report, Skip, Source
from embedstore.errors import ReadFailure
from embedstore.readers import dicom_render
from embedstore.readers.dicom_file import DicomFile, Shape, parse, plausible, shape_of
from embedstore.readers.dicom_header import frame_header, header_of, spacing_of
from embedstore.readers.dicom_kinds import not_an_image
from embedstore.readers.dicom_pixels import decode_frame, refuse_unsupported
from embedstore.readers.quiet import quiet_pydicom
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.settings import Limits

_WHOLE = "image"
_FRAME = "frame/"


class DicomReader:
    """Reads DICOM images (PS3.10 files, also without preamble or meta information).

    Parts: "image" for an object of one frame; "frame/N" for each frame of a multi-frame object, N from 1 as
    DICOM counts frames. With unit "image" a multi-frame object is one asset whose pixels are
    (frames, H, W, C). Tiles of a DICOM slide are its frames. Objects that hold no image (reports, plans,
    segmentations, ...) are Skips that name their kind. How pixels become "display" values is said in
    `dicom_render`.
    """

    name = "dicom"

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        # The last file in parsed form: frames of one file are usually read one after the other.
        self._last: tuple[tuple[str, int, int], DicomFile] | None = None

    def sniff(self, head: bytes) -> bool:
        """The DICM prefix, or a plausible first element of group 0002 or 0008."""
        return plausible(head)

    def describe(self, source: Source, cut: Cut = WHOLE_CUT) -> Iterator[Asset | Report | Skip]:
        """One asset per frame (see the class), or one Skip. Raises ReadFailure; no pixel is decoded."""
        with source.open() as stream:
            file = parse(stream, source.size, self._limits)
        with quiet_pydicom():
            described = self._describe(source, file, cut)
        yield from described

    def read(self, asset: Asset, want: Intensity = "display") -> Image:
        """Decode one asset, only the frame it names.

        "display" is uint8; "raw" and "hu" are float32 after the modality transform. Raises ReadFailure,
        also for "hu" when the values are not known to be Hounsfield units.
        """
        with asset.source.open() as stream:
            file = self._parsed(asset.source, stream)
            shape = shape_of(file, self._limits)
            if asset.part != _WHOLE or shape.frames == 1:
                index = _frame_index(asset.part, shape)
                pixels = self._render(file, shape, stream, index, want)
                spacing: tuple[float, ...] | None = spacing_of(file.header, index)
                offset = dicom_render.offset_of(file.header, want)
                return Image(pixels=pixels, intensity=want, spacing_mm=spacing, offset=offset)
            return Image(
                pixels=self._volume(file, shape, stream, want),
                intensity=want,
                offset=dicom_render.offset_of(file.header, want),
            )

    def _describe(self, source: Source, file: DicomFile, cut: Cut) -> list[Asset | Report | Skip]:
        kind = not_an_image(file)
        if kind is not None:
            return [Skip(source=source, reason=f"a DICOM object without an image: {kind}")]
        shape = shape_of(file, self._limits)
        refuse_unsupported(file)
        if shape.frames > self._limits.max_members:
            raise ReadFailure(
                f"{shape.frames:,} frames are more than the limit of {self._limits.max_members:,}"
            )
        header = header_of(file, shape)
        if shape.frames == 1 or cut.unit == "image":
            return [Asset(source=source, part=_WHOLE, reader=self.name, header=header)]
        return [
            Asset(
                source=source,
                part=f"{_FRAME}{index + 1}",
                reader=self.name,
                header=frame_header(header, file.header, index),
            )
            for index in range(shape.frames)
        ]

    def _parsed(self, source: Source, stream: BinaryIO) -> DicomFile:
        key = (source.path, source.size, source.mtime_ns)
        last = self._last
        if last is not None and last[0] == key:
            return last[1]
        file = parse(stream, source.size, self._limits)
        self._last = (key, file)
        return file

    def _render(
        self, file: DicomFile, shape: Shape, stream: BinaryIO, index: int, want: Intensity
    ) -> NDArray[Any]:
        stored = decode_frame(file, shape, stream, index)
        with quiet_pydicom():
            return dicom_render.render(file.header, stored, index, want)

    def _volume(self, file: DicomFile, shape: Shape, stream: BinaryIO, want: Intensity) -> NDArray[Any]:
        if shape.frames * shape.rows * shape.columns > self._limits.max_pixels:
            raise ReadFailure(
                f"{shape.frames} frames of {shape.rows} x {shape.columns} pixels are together more than the "
                f"limit of {self._limits.max_pixels:,}; read them frame by frame"
            )
        frames = [self._render(file, shape, stream, index, want) for index in range(shape.frames)]
        return np.stack(frames)


def _frame_index(part: str, shape: Shape) -> int:
    if part == _WHOLE:
        return 0
    number = part.removeprefix(_FRAME)
    if part.startswith(_FRAME) and number.isascii() and number.isdigit() and 1 <= int(number) <= shape.frames:
        return int(number) - 1
    raise ReadFailure("there is no such frame in the file")
