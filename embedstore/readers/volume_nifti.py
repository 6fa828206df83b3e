"""NIfTI-1, NIfTI-2 and Analyze 7.5 headers, by nibabel.

Only the 348 or 540 bytes of the header are read; extensions and free text (descrip, db_name, aux_file) are
not, since exporters put names and dates of patients there.
"""

from __future__ import annotations

import itertools
import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import ReadFailure
from embedstore.readers.quiet import quiet
from embedstore.readers.volume_header import Layout, VolumeHeader, placed, upright_grid

HEADER_BYTES = 540
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # NIFTI_UNITS_UNKNOWN, METER, MM, MICRON
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # NIFTI_UNITS_SEC, MSEC, USEC
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ANALYZE_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 132: 16, 136: 32, 130: 8}
_ANALYZE_NAME = "Analyze"
_MOVED = 0.5  # of a voxel: what rounding in a header never is
_DAMAGED = "the header of the volume is damaged"


def kind(head: bytes) -> str | None:
    """Name of the class of nibabel that reads it, None when it is neither NIfTI nor Analyze.

    NIfTI by sizeof_hdr and magic; Analyze, which has no magic, by sizeof_hdr, the number of dimensions and
    a data type that agrees with its bits.
    """
    if len(head) < 348:
        return None
    sizes = struct.unpack("<i", head[:4])[0], struct.unpack(">i", head[:4])[0]
    if 540 in sizes:
        return {b"n+2\0": "Nifti2Header", b"ni2\0": "Nifti2PairHeader"}.get(head[4:8])
    if 348 not in sizes:
        return None
    found = {b"n+1\0": "Nifti1Header", b"ni1\0": "Nifti1PairHeader"}.get(head[344:348])
    if found is not None:
        return found
    order = "<" if sizes[0] == 348 else ">"
    dims = struct.unpack(f"{order}8h", head[40:56])
    datatype, bits = struct.unpack(f"{order}2h", head[70:74])
    plausible = 1 <= dims[0] <= 7 and all(length >= 0 for length in dims[1 : dims[0] + 1])
    return "Spm2AnalyzeHeader" if plausible and _ANALYZE_BITS.get(datatype) == bits else None


def header_of(head: bytes, packed: bool) -> VolumeHeader:
    """From the first bytes, unpacked. packed: whether the file is gzipped. Raises ReadFailure."""
    name = kind(head)
    if name is None:
        raise ReadFailure(_DAMAGED)
    header = _parse(name, head)
    pair = "Pair" in name or _ANALYZE_NAME in name
    try:
        with quiet("nibabel"), np.errstate(all="ignore"):
            return _header(header, name, None if not pair else "", packed)
    except ReadFailure:
        raise
    except Exception:  # nibabel raises several classes, with values of the header in the message
        raise ReadFailure(_DAMAGED) from None


def _parse(name: str, head: bytes) -> Any:
    try:
        import nibabel as nib
    except ImportError:
        raise ReadFailure("NIfTI and Analyze need nibabel; install embedstore[volumes]") from None
    module = nib.spm2analyze if _ANALYZE_NAME in name else nib.nifti1 if "Nifti1" in name else nib.nifti2
    found = getattr(module, name)
    if len(head) < found.sizeof_hdr:
        raise ReadFailure("the file ends inside its header; it is truncated")
    try:
        return found(head[: found.sizeof_hdr], check=False)
    except Exception:
        raise ReadFailure(_DAMAGED) from None


def _header(header: Any, name: str, data: str | None, packed: bool) -> VolumeHeader:
    affine, oriented = _affine(header, name)
    scaled = affine is not None
    units = int(header["xyzt_units"]) if "xyzt_units" in header else 0
    grid = upright_grid((1.0, 1.0, 1.0)) if affine is None else affine
    to_mm = _MM.get(units & 0x07, 1.0)
    grid = _TO_LPS @ np.diag([to_mm, to_mm, to_mm, 1.0]) @ grid
    return VolumeHeader(
        format=_ANALYZE_NAME if _ANALYZE_NAME in name else f"NIfTI-{name[5]}",
        layout=_layout(header, name, packed),
        affine=grid,
        oriented=oriented,
        scaled=scaled,
        slice_axis=_slice_axis(header),
        time_step_s=_time_step(header, units),
        data=data,
        extra={**_extra(header), **_second_opinion(header, name)},
    )


def _second_opinion(header: Any, name: str) -> dict[str, str]:
    """A word for headers whose two transforms put a corner of the volume more than half a voxel apart.

    The sform is used, as in nibabel; ITK takes the qform unless the sform's code is 1 (scanner).
    """
    if _ANALYZE_NAME in name:
        return {}
    sform, qform = _attempt(header.get_sform, coded=True), _attempt(header.get_qform, coded=True)
    if sform is None or qform is None:
        return {}
    ends = [(0.0, max(int(length), 1) - 1.0) for length in header["dim"][1:4]]
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*ends)])
    apart = np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max()
    if apart <= _MOVED * np.linalg.norm(sform[:3, :3], axis=0).min():
        return {}
    mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    return {"Orientation": "sform; the qform is mirrored" if mirrored else "sform; the qform differs"}


def _layout(header: Any, name: str, packed: bool) -> Layout:
    if not 1 <= int(header["dim"][0]) <= 7:
        raise ReadFailure(_DAMAGED)
    shape = [int(length) for length in header.get_data_shape()]
    shape += [1] * (4 - len(shape))
    if any(length != 1 for length in shape[4:]):
        raise ReadFailure("it has more than four dimensions (a vector field or a matrix), not an image")
    try:
        dtype = header.get_data_dtype()
    except Exception:
        raise ReadFailure("its data type is not one of the format's") from None
    channels = 1
    if dtype.fields is not None and all(dtype[field] == np.uint8 for field in dtype.fields):
        channels, dtype = len(dtype.fields), np.dtype(np.uint8)
    slope, intercept = header.get_slope_inter()
    return Layout(
        shape=(shape[0], shape[1], shape[2]),
        times=shape[3],
        dtype=dtype,
        channels=channels,
        offset=int(header.get_data_offset()),
        packing="deflate" if packed else "",
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
    )


def _affine(header: Any, name: str) -> tuple[NDArray[np.float64] | None, bool]:
    """Voxel to RAS, and whether the header gives it: the sform, else the qform (NIfTI-1, methods 3 and 2).

    Without either, voxel sizes alone (method 1), as nibabel has it: x from right to left, y to the front.
    """
    if _ANALYZE_NAME not in name:
        for found in (_attempt(header.get_sform, coded=True), _attempt(header.get_qform, coded=True)):
            if found is not None:
                return found, True
    return _attempt(header.get_best_affine if _ANALYZE_NAME in name else header.get_base_affine), False


def _attempt(get: Any, **options: bool) -> NDArray[np.float64] | None:
    try:
        found = get(**options)
    except Exception:  # a quaternion longer than 1, for one
        return None
    return placed(found[0] if isinstance(found, tuple) else found)


def _slice_axis(header: Any) -> int | None:
    if "dim_info" not in header:
        return None
    axis = header.get_dim_info()[2]
    return axis if axis in (0, 1, 2) else None


def _time_step(header: Any, units: int) -> float | None:
    step = float(header["pixdim"][4]) * _SECONDS.get(units & 0x38, math.nan)
    return step if math.isfinite(step) and step > 0 else None


def _extra(header: Any) -> dict[str, str | int | float]:
    """The intent when it is one of the standard's: a label map or statistic is no picture of anatomy."""
    if "intent_code" not in header or not int(header["intent_code"]):
        return {}
    try:
        return {"Intent": str(header.get_intent()[0])}
    except Exception:
        return {}
