"""Which slices belong together: the key of a volume for slices in files of their own."""

from __future__ import annotations

import hashlib

from pydicom.dataset import Dataset

from embedstore.contracts.record import Header
from embedstore.readers.dicom_geometry import Plane
from embedstore.readers.dicom_values import code, integer, number, private_integer, text

_SOP = "1.2.840.10008.5.1.4.1.1."
CT, MR, PET = _SOP + "2", _SOP + "4", _SOP + "128"
CLASSIC = frozenset((CT, MR, PET))


def whole_key(*words: object) -> str:
    """An opaque key of a whole; equal words give equal keys in every process."""
    return hashlib.sha256("\x1f".join(map(str, words)).encode()).hexdigest()[:32]


def is_localizer(ds: Dataset) -> bool:
    """Value 3 of Image Type (PS3.3 C.8.2.1.1.1 for CT, C.8.13.1.1.1)."""
    return "LOCALIZER" in (text(ds, "ImageType") or "").upper().split("\\")


def classic_whole(ds: Dataset, header: Header, plane: Plane | None) -> str | None:
    """The volume that a CT, MR or PET image of one frame is a slice of; None for all others and localizers.

    Images of one series belong together when they have one orientation, matrix and spacing, one kind of
    image (Image Type 1-4, so that magnitude and phase are apart), and one point in every further dimension
    that the header tells: temporal position, echo, b-value with its direction, acquisition of an MR series
    without temporal positions, and for dynamic and gated PET the block of Image Index (C.8.9.4.1.9).
    """
    if header.sop_class not in CLASSIC or header.series_uid is None or plane is None or is_localizer(ds):
        return None
    spacing = tuple(round(side, 4) for side in plane.spacing) if plane.spacing else None
    kind = (text(ds, "ImageType") or "").upper().split("\\")[:4]
    dimensions = _mr(ds) if header.sop_class == MR else _pet(ds) if header.sop_class == PET else _ct(ds)
    size = integer(ds, "Rows"), integer(ds, "Columns")
    return whole_key("series", header.series_uid, plane.orientation, size, spacing, kind, dimensions)


def classic_time(ds: Dataset) -> float | None:
    """Seconds since the start of the series or heartbeat, from what the class has for it.

    PET: Frame Reference Time. Others: the temporal position times Temporal Resolution (of echo-planar series
    without it Repetition Time, in which they take one volume), or Trigger Time.
    """
    found = number(ds, "FrameReferenceTime") if code(ds, "Modality") == "PT" else None
    if found is None:
        position, step = temporal_position(ds), number(ds, "TemporalResolution")
        if step is None and "EP" in (text(ds, "ScanningSequence") or "").upper().split("\\"):
            step = number(ds, "RepetitionTime")
        found = (position - 1) * step if position is not None and step else number(ds, "TriggerTime")
    return round(found / 1000, 6) if found is not None else None


def temporal_position(ds: Dataset) -> int | None:
    """Temporal Position Identifier, from 1; None when the header does not tell.

    GE leaves it out of multi-phase series, but numbers their images phase by phase and says how many slices a
    phase has; taken only where that agrees with the number of phases and with In-Stack Position Number.
    """
    found = integer(ds, "TemporalPositionIdentifier")
    phases, image = integer(ds, "NumberOfTemporalPositions"), integer(ds, "InstanceNumber")
    if found is not None or phases is None or phases < 2 or image is None or image < 1:
        return found
    slices = private_integer(ds, 0x0021, "GEMS_RELA_01", 0x4F)
    if slices is None or slices < 1:
        return None
    phase, place = divmod(image - 1, slices)
    if phase >= phases or integer(ds, "InStackPositionNumber") not in (None, place + 1):
        return None
    return phase + 1


def _ct(ds: Dataset) -> tuple[object, ...]:
    # Not Acquisition Number: axial CT counts it up with every rotation of one volume.
    return (integer(ds, "TemporalPositionIdentifier"), text(ds, "ConvolutionKernel"))


def _mr(ds: Dataset) -> tuple[object, ...]:
    temporal = temporal_position(ds)
    return (
        temporal,
        integer(ds, "AcquisitionNumber") if temporal is None else None,
        text(ds, "EchoNumbers"),
        text(ds, "EchoTime"),
        number(ds, "DiffusionBValue"),
        text(ds, "DiffusionGradientOrientation"),
    )


def _pet(ds: Dataset) -> tuple[object, ...]:
    kind = code(ds, "SeriesType")
    index, slices = integer(ds, "ImageIndex"), integer(ds, "NumberOfSlices")
    block = (index - 1) // slices if kind in ("DYNAMIC", "GATED") and index and slices else None
    return (kind, block)
