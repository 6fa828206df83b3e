"""What a stored frame must turn out to be, as the header says it (PS3.3 C.7.6.3, PS3.5 8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.uid import ExplicitVRBigEndian

from embedstore.errors import ReadFailure
from embedstore.readers.dicom_file import DicomFile, Shape
from embedstore.readers.dicom_values import code, integer

GREY = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
YBR = frozenset({"YBR_FULL", "YBR_FULL_422"})
_COLOUR = YBR | {"RGB", "YBR_ICT", "YBR_RCT", "XYB"}
_FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One frame as the header describes it.

    allocated, stored, high: Bits Allocated, Bits Stored, High Bit. planar: samples lie plane by plane.
    swapped: values are big endian. words: values of 8 bits were written as words of 16 (PS3.5 A.3, OW).
    floating: values are IEEE floats.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    planar: bool
    photometric: str
    swapped: bool = False
    words: bool = False
    floating: bool = False

    @property
    def pixels(self) -> int:
        """Pixels of the frame."""
        return self.rows * self.columns

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, 3)."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the stored values in the order of this machine."""
        kind = "f" if self.floating else "i" if self.signed else "u"
        return np.dtype(f"{kind}{max(self.allocated // 8, 1)}")


def layout_of(file: DicomFile, shape: Shape) -> Layout:
    """The layout of every frame of a file. Raises ReadFailure when the header contradicts itself."""
    header, pixels = file.header, file.pixels
    assert pixels is not None
    photometric = code(header, "PhotometricInterpretation") or (
        "MONOCHROME2" if shape.samples == 1 else "RGB"
    )
    if photometric not in (GREY if shape.samples == 1 else _COLOUR) or shape.samples not in (1, 3):
        raise ReadFailure("samples per pixel and photometric interpretation contradict each other")
    allocated = _FLOATS.get(pixels.keyword, shape.bits)
    if allocated not in (1, 8, 16, 32, 64) or allocated != shape.bits:
        raise ReadFailure("its bits allocated are none that pixels can have")
    stored = integer(header, "BitsStored")
    stored = allocated if stored is None else stored
    high = integer(header, "HighBit")
    high = stored - 1 if high is None else high
    if not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise ReadFailure("bits allocated, bits stored and high bit contradict each other")
    swapped = file.syntax == ExplicitVRBigEndian
    return Layout(
        rows=shape.rows,
        columns=shape.columns,
        samples=shape.samples,
        allocated=allocated,
        stored=stored,
        high=high,
        signed=integer(header, "PixelRepresentation") == 1,
        planar=integer(header, "PlanarConfiguration") == 1 and shape.samples > 1,
        photometric=photometric,
        swapped=swapped,
        words=swapped and allocated == 8 and pixels.vr == "OW",
        floating=pixels.keyword in _FLOATS,
    )
