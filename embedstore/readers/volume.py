"""The volume reader: NIfTI, Analyze, NRRD and MetaImage, as slices or as volumes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import Image, Intensity
from embedstore.contracts.record import WHOLE_CUT, Asset, Cut, Header, Report, Skip, Source
from embedstore.errors import ReadFailure
from embedstore.readers import volume_display, volume_meta, volume_nifti, volume_nrrd
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.readers.volume_geometry import View, view_along, view_of
from embedstore.readers.volume_header import VolumeHeader, check_layout, check_size, check_unpacked
from embedstore.readers.volume_pairs import unpacked_head, voxels_of
from embedstore.readers.volume_voxels import Voxels, digest_of
from embedstore.settings import Limits

_HEAD_BYTES = 4096
_GZIP = b"\x1f\x8b"
_AXES = "ijk"
_PART = re.compile(
    r"(?:data/(?P<data>[0-9a-f]{16})/)?(?:time/(?P<time>0|[1-9]\d{0,8})/)?"
    r"(?:volume|slice/(?P<axis>[ijk])/(?P<index>0|[1-9]\d{0,8}))"
)


class _Piece(NamedTuple):
    """What a part names. place: of a slice along the file's own axis, None for a volume."""

    time: int
    axis: int
    place: int | None


@dataclass(slots=True, eq=False)
class _Opened:
    """A volume that is being read. data: digest of a second file that holds the voxels."""

    key: tuple[object, ...]
    header: VolumeHeader
    data: str | None
    voxels: Voxels
    shown: volume_display.Range | None = None

    def range(self) -> volume_display.Range:
        """Of the display, found once."""
        if self.shown is None:
            colour = self.header.layout.channels > 1
            sample = np.zeros(0) if colour else self.voxels.sample()
            self.shown = volume_display.range_of(sample, self.header.layout)
        return self.shown


class VolumeReader:
    """Reads NIfTI-1 and -2 (.nii, .nii.gz, .hdr + .img), Analyze 7.5, NRRD (.nrrd, .nhdr) and MetaImage
    (.mha, .mhd + .raw).

    Parts, by default slices across the acquisition plane (`volume_geometry.cut_axis`): "slice/k/17" is voxel
    17 (from 0, as NIfTI tools count) along the file's own axis i, j or k; "time/3/slice/k/17" of a 4D
    file; "volume" and "time/3/volume" with unit "volume" or "image". A volume in two files has
    "data/DIGEST/" in front, since the header alone does not tell one volume from another. `every` takes each
    N-th slice, or time point for unit "volume". part_number counts slices along the normal, from the feet,
    the front or the left; slice_thickness_mm is the distance of slices. One `whole` per time point.

    Slices are turned as on a radiologist's screen (`volume_geometry`); values are in `volume_display`. The
    last volume read stays open: its range of display and, when it was packed, its voxels.
    """

    name = "volume"
    reads_pieces = True

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._last: _Opened | None = None

    def sniff(self, head: bytes) -> bool:
        """By the header of each format, also inside the beginning of a gzip file."""
        return (
            volume_nifti.kind(unpacked_head(head)) is not None
            or volume_nrrd.sniff(head)
            or volume_meta.sniff(head)
        )

    def describe(self, source: Source, cut: Cut = WHOLE_CUT) -> Iterator[Asset | Report | Skip]:
        """One asset per slice or volume. Raises ReadFailure; no voxel is decoded."""
        header = self._header(source)
        voxels = voxels_of(source, header)
        layout = self._with_packing(header, voxels).layout
        check_size(layout, voxels.size)
        view = view_of(header)
        stacked = cut.unit in ("volume", "image")
        self._refuse_large(view, stacked)
        digest = digest_of(voxels)
        prefix = "" if header.data is None else f"data/{digest}/"
        step = max(cut.every or 1, 1)
        times = range(0, layout.times, step if stacked else 1)
        slices = [] if stacked else range(0, view.shape[0], step)
        if len(times) * max(len(slices), 1) > self._limits.max_members:
            raise ReadFailure(
                f"more slices than the limit of {self._limits.max_members:,}; take fewer with --every"
            )
        base = _columns(header, view)
        for time in times:
            at = f"{prefix}time/{time}/" if layout.times > 1 else prefix
            start = time * header.time_step_s if header.time_step_s is not None else None
            timed = replace(base, time_s=start if layout.times > 1 else None)
            if stacked:
                whole = f"volume/{digest}" if layout.times > 1 else None
                number = time + 1 if layout.times > 1 else None
                columns = replace(timed, whole=whole, part_number=number)
                yield Asset(source=source, part=f"{at}volume", reader=self.name, header=columns)
            whole = f"volume/{digest}" + (f"/{time}" if layout.times > 1 else "")
            for d in slices:
                columns = replace(
                    timed,
                    whole=whole,
                    part_number=d + 1,
                    position_mm=round(view.position(d), 4) if header.scaled else None,
                )
                part = f"{at}slice/{_AXES[view.axes[0]]}/{view.voxel(d)}"
                yield Asset(source=source, part=part, reader=self.name, header=columns)

    def read(self, asset: Asset, want: Intensity = "display") -> Image:
        """One slice (H, W, C), or one volume (D, H, W, C). Raises ReadFailure.

        "display" is uint8, "raw" float32; "hu" only of a MetaImage or NRRD that says it is CT.
        """
        match = _PART.fullmatch(asset.part)
        if match is None:
            raise ReadFailure("there is no such part in the file")
        opened = self._opened(asset.source)
        header = opened.header
        piece = _piece(match, opened)
        volume_display.refuse_unknown(header, want)
        view = view_along(header, piece.axis)
        self._refuse_large(view, piece.place is None)
        if piece.place is None:
            stored = view.turn_volume(opened.voxels.volume(piece.time))
            spacing: tuple[float, ...] = view.spacing()
            affine = view.affine
        else:
            stored = view.turn_plane(opened.voxels.plane(piece.time, piece.axis, piece.place))
            spacing, affine = view.spacing()[1:], view.slice_affine(view.voxel(piece.place))
        return Image(
            pixels=_values(stored, opened, want),
            intensity=want,
            spacing_mm=spacing if header.scaled else None,
            affine=affine if header.scaled and header.oriented else None,
        )

    def _header(self, source: Source) -> VolumeHeader:
        try:
            with source.open() as stream:
                head = stream.read(_HEAD_BYTES)
                stream.seek(0)
                if volume_nrrd.sniff(head):
                    header = volume_nrrd.header_of(stream)
                elif volume_nifti.kind(unpacked_head(head)) is not None:
                    header = volume_nifti.header_of(unpacked_head(head), head.startswith(_GZIP))
                elif volume_meta.sniff(head):
                    header = volume_meta.header_of(stream)
                else:
                    raise ReadFailure("not a volume, or damaged at its beginning")
        except OSError as error:
            raise ReadFailure(f"cannot be read: {error.strerror or type(error).__name__}") from None
        check_layout(header.layout)
        return header

    def _with_packing(self, header: VolumeHeader, voxels: Source) -> VolumeHeader:
        """The .img of a pair may be packed when its .hdr is not, and the other way round."""
        if header.data == "":
            with voxels.open() as stream:
                packed = stream.read(2) == _GZIP and voxels.path.lower().endswith(".gz")
            header = replace(header, layout=replace(header.layout, packing="deflate" if packed else ""))
        check_unpacked(header.layout, self._limits)
        return header

    def _refuse_large(self, view: View, stacked: bool) -> None:
        depth, rows, columns = view.shape
        most = self._limits.max_pixels
        if rows * columns > most:
            raise ReadFailure(f"{rows} x {columns} pixels are more than the limit of {most:,}")
        if stacked and depth * rows * columns > most:
            raise ReadFailure(
                f"{depth} slices of {rows} x {columns} pixels are together more than the limit of {most:,}; "
                "read them slice by slice"
            )

    def _opened(self, source: Source) -> _Opened:
        header = self._header(source)
        voxels = voxels_of(source, header)
        key = tuple(value for one in (source, voxels) for value in (one.path, one.size, one.mtime_ns))
        if self._last is not None and self._last.key == key:
            return self._last
        self._last = None  # its memory is needed
        header = self._with_packing(header, voxels)
        data = None if header.data is None else digest_of(voxels)
        self._last = _Opened(key, header, data, Voxels(voxels, header.layout))
        return self._last


def _piece(match: re.Match[str], opened: _Opened) -> _Piece:
    """What the part names in this very file. Raises ReadFailure when it is not there."""
    layout = opened.header.layout
    if match["data"] != opened.data:
        raise ReadFailure("the file with its voxels has changed; ingest it again")
    index = None if match["index"] is None else int(match["index"])
    axis = view_of(opened.header).axes[0] if index is None else _AXES.index(match["axis"])
    time = int(match["time"] or 0)
    timed = (match["time"] is not None) == (layout.times > 1)
    if not timed or time >= layout.times or (index is not None and index >= layout.shape[axis]):
        raise ReadFailure("there is no such part in the file")
    return _Piece(time, axis, index)


def _values(stored: NDArray[Any], opened: _Opened, want: Intensity) -> NDArray[Any]:
    if want == "display":
        return volume_display.display(stored, opened.header.layout, opened.range())
    return volume_display.raw(stored, opened.header.layout)


def _columns(header: VolumeHeader, view: View) -> Header:
    """What all parts of a file have in common."""
    between, row, column = view.spacing() if header.scaled else (None, None, None)
    shown = volume_display.rule(header.layout)
    extra = {"Format": header.format, "Plane": view.plane, "display": shown, **header.extra}
    if not header.oriented:
        extra["Orientation"] = "assumed"
    return Header(
        modality=header.modality,
        rows=view.shape[1],
        columns=view.shape[2],
        spacing_row_mm=_rounded(row),
        spacing_col_mm=_rounded(column),
        slice_thickness_mm=_rounded(between),
        extra=extra,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
