"""NRRD headers (teem.sourceforge.net/nrrd/format.html), attached or detached (.nhdr)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import ReadFailure
from embedstore.readers.volume_header import Layout, Packing, VolumeHeader, placed, upright_grid
from embedstore.readers.volume_text import HeaderFault, fault, floats, grid, integers, line_of, needed

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t",
         "signed long long int"), "i8",
    ),
    **dict.fromkeys(
        ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"
    ),
    "float": "f4",
    "double": "f8",
}  # fmt: skip
_SPACES = {
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
}  # fmt: skip
_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "µm": 1e-3, "nm": 1e-6}
_COLOUR = {"rgb-color": 3, "rgba-color": 4, "3-color": 3, "4-color": 4}
_SPATIAL = {"domain", "space"}
_VECTOR = re.compile(r"\(([^()]*)\)|none")
_KEPT = {"modality": "Modality", "dicom_0008_0060_modality": "Modality"}


def sniff(head: bytes) -> bool:
    """The magic with a version (`NRRD0001` to `NRRD0005`, and to come)."""
    return re.match(rb"NRRD\d{4}\r?\n", head) is not None


def header_of(stream: BinaryIO) -> VolumeHeader:
    """Read the header; the stream is left behind it. Raises ReadFailure."""
    try:
        fields, keys = _fields(stream)
        return _header(fields, keys, stream.tell())
    except HeaderFault as found:
        name = f" ({found})" if str(found) else ""
        raise ReadFailure(f"the NRRD header is damaged or incomplete{name}") from None


def _fields(stream: BinaryIO) -> tuple[dict[str, str], dict[str, str]]:
    """Fields by lower-case name, and key/value pairs."""
    if not sniff(stream.read(10)):
        raise ReadFailure("not an NRRD file")
    stream.seek(0)
    line_of(stream)
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    while line := line_of(stream):
        text = line.decode("utf-8", "replace")
        if text.startswith("#"):
            continue
        name, mark, value = text.partition(":")
        if value.startswith("="):
            keys[name.strip().lower()] = value[1:].strip()
        elif mark:
            fields[name.strip().lower().replace("datafile", "data file")] = value.strip()
    return fields, keys


def _header(fields: dict[str, str], keys: dict[str, str], end: int) -> VolumeHeader:
    sizes = integers(needed(fields, "sizes"), integers(needed(fields, "dimension"), 1)[0])
    other = _other_axis(fields, len(sizes))
    spatial = [axis for axis in range(len(sizes)) if axis != other]
    layout = _layout(fields, sizes, other, end)
    affine, oriented, scaled = _affine(fields, spatial)
    modality = next((keys[name] for name in _KEPT if name in keys), None)
    time_step = _time_step(fields, other) if layout.times > 1 else None
    return VolumeHeader(
        format="NRRD",
        layout=layout,
        affine=affine,
        oriented=oriented,
        scaled=scaled,
        time_step_s=time_step,
        modality=modality if modality in ("CT", "MR", "PT", "US", "NM") else None,
        data=_data_file(fields),
    )


def _other_axis(fields: dict[str, str], count: int) -> int | None:
    """The one axis that is not of space: components or time. Raises ReadFailure for several."""
    if not 2 <= count <= 4:
        raise ReadFailure(f"it has {count} dimensions, not two to four")
    kinds = fields.get("kinds", "").lower().split()
    steps = _VECTOR.findall(fields.get("space directions", ""))
    written = _VECTOR.finditer(fields.get("space directions", ""))
    apart = {axis for axis, found in enumerate(written) if found[0] == "none"} if steps else set()
    if not apart and len(kinds) == count:
        apart = {axis for axis, kind in enumerate(kinds) if kind not in _SPATIAL and kind != "???"}
    if not apart and count == 4:
        apart = {3}
    if len(apart) > 1:
        raise ReadFailure("several of its axes are not of space; it is not an image")
    other = apart.pop() if apart else None
    if other is not None and other not in (0, count - 1):
        raise ReadFailure("its components run between its axes of space; reorder them first")
    return other


def _layout(fields: dict[str, str], sizes: list[int], other: int | None, end: int) -> Layout:
    shape = [length for axis, length in enumerate(sizes) if axis != other]
    shape += [1] * (3 - len(shape))
    packing = _packing(needed(fields, "encoding"))
    skip = integers(fields.get("byte skip", fields.get("byteskip", "0")), 1)[0]
    if integers(fields.get("line skip", fields.get("lineskip", "0")), 1)[0] != 0:
        raise ReadFailure("an NRRD with `line skip` is not read; write it anew")
    if skip < -1 or (skip == -1 and packing):
        fault("byte skip")
    start = 0 if "data file" in fields else end
    layout = Layout(
        shape=(shape[0], shape[1], shape[2]),
        dtype=_dtype(fields),
        offset=max(skip, 0) if packing else start + max(skip, 0),
        packing=packing,
        packed_at=start,
        from_end=skip == -1,
    )
    if other is None or sizes[other] == 1:
        return layout
    kinds = fields.get("kinds", "").lower().split()
    kind = kinds[other] if other < len(kinds) else ""
    colour = _COLOUR.get(kind, 3 if kind in ("vector", "3-vector") and sizes[other] == 3 else 0)
    if other == 0 and colour == sizes[other]:
        return replace(layout, channels=colour)
    if kind.endswith("vector") and other == 0:
        return replace(layout, channels=sizes[other])
    if kind in ("", "???", "list", "time", "domain", "scalar", "none", "point"):
        return replace(layout, times=sizes[other], times_fastest=other == 0)
    raise ReadFailure("its voxels are vectors or tensors, not an image")


def _packing(encoding: str) -> Packing:
    if encoding.lower() == "raw":
        return ""
    if encoding.lower() in ("gz", "gzip"):
        return "deflate"
    raise ReadFailure("only raw and gzip encodings of NRRD are read; write it anew with one of them")


def _dtype(fields: dict[str, str]) -> np.dtype[np.generic]:
    name = _TYPES.get(needed(fields, "type").lower())
    if name is None:
        raise ReadFailure("its data type is not a number of a fixed size")
    endian = fields.get("endian", "").lower()
    if name[1] != "1" and endian not in ("little", "big"):
        fault("endian")
    return np.dtype(name).newbyteorder(">" if endian == "big" else "<")


def _affine(fields: dict[str, str], spatial: list[int]) -> tuple[NDArray[np.float64], bool, bool]:
    """Voxel to LPS, whether the header says where left and right are, and whether voxels have a size."""
    signs = _SPACES.get(re.sub("-time$", "", fields.get("space", "").lower()))
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    to_mm = _MM.get(units[0].strip().lower(), 1.0) if units else 1.0
    steps = [floats(inner) for inner in _VECTOR.findall(fields.get("space directions", "")) if inner]
    if len(steps) == len(spatial) == 3 and all(len(step) == 3 for step in steps):
        inner = _VECTOR.findall(fields.get("space origin", ""))
        origin = floats(inner[0], 3) if inner else [0.0, 0.0, 0.0]
        affine = placed(np.diag([*(signs or (1, 1, 1)), 1.0]) @ (_scaling(to_mm) @ grid(steps, origin)))
        if affine is not None:
            return affine, signs is not None, True
    sizes = _spacings(fields, spatial)
    return upright_grid(sizes or (1.0, 1.0, 1.0)), False, sizes is not None


def _scaling(factor: float) -> NDArray[np.float64]:
    return np.diag([factor, factor, factor, 1.0])


def _spacings(fields: dict[str, str], spatial: list[int]) -> tuple[float, float, float] | None:
    words = fields.get("spacings", "").lower().split()
    if len(words) <= max(spatial) or any(words[axis] == "nan" for axis in spatial):
        return None
    found = [abs(floats(words[axis], 1)[0]) for axis in spatial] + [1.0] * (3 - len(spatial))
    return (found[0], found[1], found[2]) if min(found) > 1e-9 else None


def _time_step(fields: dict[str, str], other: int | None) -> float | None:
    words, units = fields.get("spacings", "").split(), re.findall(r'"([^"]*)"', fields.get("units", ""))
    if other is None or len(words) <= other or len(units) <= other or words[other].lower() == "nan":
        return None
    step = floats(words[other], 1)[0] * {"s": 1.0, "sec": 1.0, "ms": 1e-3, "msec": 1e-3}.get(units[other], 0)
    return step if step > 0 else None


def _data_file(fields: dict[str, str]) -> str | None:
    name = fields.get("data file")
    if name is not None and (name.upper().startswith("LIST") or "%" in name):
        raise ReadFailure("its voxels are spread over several files; join them in one volume first")
    return name
