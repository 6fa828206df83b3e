"""From a path to an item: sources, headers, and what a reader's `describe` may yield."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import BinaryIO, Literal, Protocol, runtime_checkable

from embedstore.contracts.image import Image, Intensity

Scalar = str | int | float
Unit = Literal["auto", "image", "frame", "slice", "volume", "tile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How sources are cut into items; what does not apply to a format is ignored by its reader.

    unit: "auto" leaves it to the reader's documented default for that kind of object. every: each N-th
      frame, slice or tile is taken, None for the reader's default. tile: side of a tile in pixels, at
      `mpp` microns per pixel. assume_mpp: resolution of slides that do not say their own.
    """

    unit: Unit = "auto"
    every: int | None = None
    tile: int = 224
    mpp: float = 0.5
    assume_mpp: float | None = None


WHOLE_CUT = Cut()


class Source(Protocol):
    """Bytes that have a name: a file, or a member of an archive."""

    @property
    def path(self) -> str:
        """Absolute path; for an archive member `ARCHIVE!/MEMBER`."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def mtime_ns(self) -> int:
        """Modification time of the file (of the archive for a member), in nanoseconds."""

    def open(self) -> BinaryIO:
        """A seekable binary stream; raises ReadFailure when the bytes cannot be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is known of an item besides its pixels; each field is a column a person can filter by.

    Dates are ISO 8601 (`2024-05-31`), ages are in years, spacing in mm, sex is `M`, `F` or `O`.
    whole: key shared by the parts of one volume, cine loop or slide; part_number counts them from 1 in
      their own order, position_mm lies along the normal of the slices, time_s is since the first frame or
      volume, mpp is microns per pixel of a tile whose left upper corner is tile_x, tile_y in pixels of the
      slide's full resolution.
    patient_group: an identifier known to be finer or wider than PatientID (merged persons); it is what
      splits go by when present. extra: further attributes (CSV columns, DICOM keywords), addressable as
      `attr.NAME` in a filter.
    """

    patient_id: str | None = None
    patient_issuer: str | None = None
    patient_group: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    sop_class: str | None = None
    transfer_syntax: str | None = None
    instance_number: int | None = None
    frame: int | None = None
    modality: str | None = None
    body_part: str | None = None
    laterality: str | None = None
    view: str | None = None
    study_date: str | None = None
    acquisition_date: str | None = None
    study_description: str | None = None
    series_description: str | None = None
    age: float | None = None
    sex: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    institution: str | None = None
    site: str | None = None
    label: str | None = None
    split: str | None = None
    rows: int | None = None
    columns: int | None = None
    spacing_row_mm: float | None = None
    spacing_col_mm: float | None = None
    slice_thickness_mm: float | None = None
    kvp: float | None = None
    field_strength_t: float | None = None
    sequence: str | None = None
    contrast: str | None = None
    whole: str | None = None
    part_number: int | None = None
    position_mm: float | None = None
    time_s: float | None = None
    tile_x: int | None = None
    tile_y: int | None = None
    mpp: float | None = None
    magnification: float | None = None
    licence: str | None = None
    extra: Mapping[str, Scalar] = field(default_factory=dict)


HEADER_COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Header) if f.name != "extra")
READER_ATTRIBUTES = frozenset({"display", "icc", "suv"})
"""Words of the readers alone: how an image is shown, what its colour and uptake are worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One image inside a source: a whole file, a frame, a row of an array.

    part: canonical key of the part inside the bytes ("image", "frame/3", "train/17"); with the sha256 of
      the bytes it is the item's identity. reader: name of the reader that can `read` it.
    """

    source: Source
    part: str
    reader: str
    header: Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A text about a patient, study or image. The text is an item of its own.

    part: as for Asset. about_path: path of the one image it describes, when it came with one.
    """

    source: Source
    part: str
    text: str
    header: Header
    about_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A source (or part of it) that is rightly not an item: an SR, a table, a text file."""

    source: Source
    reason: str
    part: str = ""


@runtime_checkable
class Reader(Protocol):
    """Turns one kind of file into items. A reader keeps no state that another source could see.

    Errors of a file are ReadFailure with a reason free of patient data; anything else is a bug.
    """

    name: str

    def sniff(self, head: bytes) -> bool:
        """Whether the first 4,096 bytes (fewer for a short file) look like this reader's format."""

    def describe(self, source: Source, cut: Cut = WHOLE_CUT) -> Iterable[Asset | Report | Skip]:
        """The items of a source from headers alone: no pixel is decoded.

        Raises ReadFailure.
        """

    def read(self, asset: Asset, want: Intensity = "display") -> Image:
        """Decode one asset. Raises ReadFailure, also when decoding would pass `Limits`."""
