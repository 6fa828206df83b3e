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
from embedstore.readers.dicom_frames import Part, parts_of
from embedstore.readers.dicom_geometry import plane_of, spacing_of
from embedstore.readers.dicom_items import FRAME, SLICE, VOLUME, WHOLE, whole_assets
from embedstore.readers.dicom_kinds import not_an_image
from embedstore.readers.dicom_mosaic import mosaic_of
from embedstore.readers.dicom_pixels import decode_frame, refuse_unsupported
from embedstore.readers.dicom_report import report_of
from embedstore.readers.dicom_stacks import step_between
from embedstore.readers.quiet import quiet_pydicom
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.settings import Limits

_NO_PART = "there is no such frame in the file"


class DicomReader:
    """Reads DICOM images and reports (PS3.10 files, also without preamble or meta information).

    Parts: "image" for an object of one frame, or for a whole multi-frame object when that was asked for;
    "frame/N" for frame N of a multi-frame object, N from 1 as DICOM counts frames; "slice/N" of a mosaic;
    "volume" (or "volume/N" when the object holds several) for all slices of a stack in their order. Which of
    them an object gives is said in `dicom_frames`. Pixels are (H, W, C), of a volume or of a whole object
    (D, H, W, C); the affine of slices and volumes goes from (slice, row, column, 1) to patient coordinates
    (LPS, mm). How pixels become "display" values is said in `dicom_render`.

    Structured reports and encapsulated texts are Reports with the part "report". Other objects without an
    image to look at (plans, segmentations, waveforms, ...) are Skips that name their kind.
    """

    name = "dicom"
    reads_pieces = True

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        # The last file in parsed form: frames of one file are usually read one after the other.
        self._last: tuple[tuple[str, int, int], DicomFile] | None = None

    def sniff(self, head: bytes) -> bool:
        """The DICM prefix, or a plausible first element of group 0002 or 0008."""
        return plausible(head)

    def describe(self, source: Source, cut: Cut = WHOLE_CUT) -> Iterator[Asset | Report | Skip]:
        """One asset per part (see the class), a Report, or one Skip. Raises ReadFailure; decodes no pixel."""
        with source.open() as stream:
            file = parse(stream, source.size, self._limits)
        with quiet_pydicom():
            described = self._describe(source, file, cut)
        yield from described

    def read(self, asset: Asset, want: Intensity = "display") -> Image:
        """Decode one asset, only the frames it names.

        "display" is uint8; "raw", "hu" and "suv" are float32 after the modality transform. Raises
        ReadFailure, also when the values are not known to be what was asked for.
        """
        with asset.source.open() as stream:
            file = self._parsed(asset.source, stream)
            shape = shape_of(file, self._limits)
            if asset.part == WHOLE and shape.frames > 1:
                pixels = self._stacked(file, shape, stream, range(shape.frames), want)
                return _image(file, pixels, want, spacing=None, affine=None)
            kind, slash, number = asset.part.partition("/")
            if kind == VOLUME:
                return self._volume(file, shape, stream, number if slash else None, want)
            if kind == SLICE:
                return self._mosaic_slice(file, shape, stream, number, want)
            index = _frame_index(asset.part, shape)
            plane = plane_of(file.header, index)
            pixels = self._render(file, shape, stream, index, want)
            affine = plane.affine() if plane is not None else None
            return _image(file, pixels, want, spacing=spacing_of(file.header, index), affine=affine)

    def _describe(self, source: Source, file: DicomFile, cut: Cut) -> list[Asset | Report | Skip]:
        report = report_of(source, file, self._limits)
        if report is not None:
            return [report]
        kind = not_an_image(file)
        if kind is not None:
            return [Skip(source=source, reason=f"a DICOM object without an image: {kind}")]
        shape = shape_of(file, self._limits)
        refuse_unsupported(file)
        if shape.frames > self._limits.max_members:
            raise ReadFailure(
                f"{shape.frames:,} frames are more than the limit of {self._limits.max_members:,}"
            )
        return list(whole_assets(source, self.name, file, shape, cut))

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

    def _stacked(
        self, file: DicomFile, shape: Shape, stream: BinaryIO, indexes: range | list[int], want: Intensity
    ) -> NDArray[Any]:
        if len(indexes) * shape.rows * shape.columns > self._limits.max_pixels:
            raise ReadFailure(
                f"{len(indexes)} frames of {shape.rows} x {shape.columns} pixels are together more than the "
                f"limit of {self._limits.max_pixels:,}; read them frame by frame"
            )
        return np.stack([self._render(file, shape, stream, index, want) for index in indexes])

    def _volume(
        self, file: DicomFile, shape: Shape, stream: BinaryIO, number: str | None, want: Intensity
    ) -> Image:
        mosaic = mosaic_of(file.header) if shape.frames == 1 else None
        if mosaic is not None:
            if number is not None:
                raise ReadFailure(_NO_PART)
            whole = self._render(file, shape, stream, 0, want)
            cut = np.stack([mosaic.cut(whole, index) for index in range(mosaic.slices)])
            return _image(file, cut, want, spacing=None, affine=None)
        with quiet_pydicom():
            wholes = parts_of(file.header, shape.frames, "") if shape.frames > 1 else []
        parts = _chosen_whole(wholes, number)
        pixels = self._stacked(file, shape, stream, [part.index for part in parts], want)
        spacing, affine = _lattice(file, parts)
        return _image(file, pixels, want, spacing=spacing, affine=affine)

    def _mosaic_slice(
        self, file: DicomFile, shape: Shape, stream: BinaryIO, number: str, want: Intensity
    ) -> Image:
        mosaic = mosaic_of(file.header) if shape.frames == 1 else None
        if mosaic is None:
            raise ReadFailure(_NO_PART)
        index = _number(number, mosaic.slices) - 1
        pixels = mosaic.cut(self._render(file, shape, stream, 0, want), index)
        return _image(file, pixels, want, spacing=spacing_of(file.header, 0), affine=None)


def _image(
    file: DicomFile,
    pixels: NDArray[Any],
    want: Intensity,
    *,
    spacing: tuple[float, ...] | None,
    affine: NDArray[np.float64] | None,
) -> Image:
    offset = dicom_render.offset_of(file.header, want)
    if affine is not None and offset != (0, 0):
        affine = affine.copy()
        affine[:3, 3] += offset[0] * affine[:3, 1] + offset[1] * affine[:3, 2]
    return Image(pixels=pixels, intensity=want, spacing_mm=spacing, affine=affine, offset=offset)


def _lattice(
    file: DicomFile, parts: list[Part]
) -> tuple[tuple[float, ...] | None, NDArray[np.float64] | None]:
    """Spacing (slice, row, column) and affine of a stack; None where its steps are not known to be equal."""
    planes = [plane_of(file.header, part.index) for part in parts]
    known = [plane for plane in planes if plane is not None]
    step = step_between(known) if len(known) == len(parts) else None
    if step is None or not step[1] or known[0].spacing is None:
        return None, None
    between = sum(part * part for part in step[0]) ** 0.5
    return (between, *known[0].spacing), known[0].affine(step[0])


def _chosen_whole(wholes: list[list[Part]], number: str | None) -> list[Part]:
    if not wholes or (number is None) != (len(wholes) == 1):
        raise ReadFailure("there is no such volume in the file")
    return wholes[0] if number is None else wholes[_number(number, len(wholes)) - 1]


def _frame_index(part: str, shape: Shape) -> int:
    if part == WHOLE:
        return 0
    if not part.startswith(FRAME):
        raise ReadFailure(_NO_PART)
    return _number(part.removeprefix(FRAME), shape.frames) - 1


def _number(written: str, most: int) -> int:
    """A number from 1 to `most` in its one canonical form."""
    if written.isascii() and written.isdigit() and len(written) < 10 and written[0] != "0":
        found = int(written)
        if found <= most:
            return found
    raise ReadFailure(_NO_PART)
