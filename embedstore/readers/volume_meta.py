"""MetaImage headers (.mha, .mhd; the format of ITK's MetaIO library)."""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import ReadFailure
from embedstore.readers.volume_header import Layout, VolumeHeader, placed, upright_grid
from embedstore.readers.volume_text import HeaderFault, fault, floats, grid, integers, line_of, needed

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}
_LINE = rb"[A-Za-z]\w* *= *[^\r\n\x00]*\r?\n"
_START = re.compile(rb"(?:" + _LINE + rb"){1,40}")
_IMAGE = re.compile(rb"(?:\A|\n)(?:ObjectType *= *Image\b|ElementType *= *MET_)")


def sniff(head: bytes) -> bool:
    """Lines `Name = Value` of which one names an image or its element type."""
    start = _START.match(head)
    return start is not None and _IMAGE.search(start[0]) is not None


def header_of(stream: BinaryIO) -> VolumeHeader:
    """Read the header; the stream is left behind it. Raises ReadFailure."""
    try:
        fields = _fields(stream)
        return _header(fields, stream.tell())
    except HeaderFault as found:
        name = f" ({found})" if str(found) else ""
        raise ReadFailure(f"the MetaImage header is damaged or incomplete{name}") from None


def _fields(stream: BinaryIO) -> dict[str, str]:
    """Fields by name, up to ElementDataFile, which is the last by definition."""
    fields: dict[str, str] = {}
    while (line := line_of(stream)) is not None:
        name, mark, value = line.decode("utf-8", "replace").partition("=")
        if not mark:
            break
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            break
    return fields


def _header(fields: dict[str, str], end: int) -> VolumeHeader:
    count = integers(needed(fields, "NDims"), 1)[0]
    if not 2 <= count <= 4:
        raise ReadFailure(f"it has {count} dimensions, not two to four")
    if fields.get("ObjectType", "Image") != "Image":
        raise ReadFailure("a MetaIO object that is not an image")
    sizes = integers(needed(fields, "DimSize"), count) + [1] * (4 - count)
    affine, oriented, scaled = _affine(fields, count)
    data = _data_file(needed(fields, "ElementDataFile"))
    return VolumeHeader(
        format="MetaImage",
        layout=_layout(fields, sizes, 0 if data is not None else end),
        affine=affine,
        oriented=oriented,
        scaled=scaled,
        modality=_MODALITIES.get(fields.get("Modality", "")),
        data=data,
    )


def _layout(fields: dict[str, str], sizes: list[int], start: int) -> Layout:
    name = _TYPES.get(needed(fields, "ElementType"))
    if name is None:
        raise ReadFailure("its element type is not a number of a fixed size")
    if not _flag(fields, "BinaryData", True):
        raise ReadFailure("a MetaImage with its voxels as text is not read; write it anew as binary data")
    packed = _flag(fields, "CompressedData", False)
    skip = integers(fields.get("HeaderSize", "0"), 1)[0] if start == 0 else 0
    if skip < -1 or (skip and packed):
        fault("HeaderSize")
    msb = _flag(fields, "BinaryDataByteOrderMSB", _flag(fields, "ElementByteOrderMSB", False))
    return Layout(
        shape=(sizes[0], sizes[1], sizes[2]),
        times=sizes[3],
        dtype=np.dtype(name).newbyteorder(">" if msb else "<"),
        channels=integers(fields.get("ElementNumberOfChannels", "1"), 1)[0],
        offset=0 if packed else start + max(skip, 0),
        packing="deflate" if packed else "",
        packed_at=start,
        from_end=skip == -1,
        slope=floats(fields.get("ElementToIntensityFunctionSlope", "1"), 1)[0],
        intercept=floats(fields.get("ElementToIntensityFunctionOffset", "0"), 1)[0],
    )


def _flag(fields: dict[str, str], name: str, default: bool) -> bool:
    value = fields.get(name)
    return default if value is None else value[:1] in ("T", "t", "1")


def _affine(fields: dict[str, str], count: int) -> tuple[NDArray[np.float64], bool, bool]:
    """Voxel to LPS, whether the header gives directions, and whether voxels have a size.

    TransformMatrix holds one row per voxel axis. Directions of a 2D image have no place in space.
    """
    words = fields.get("ElementSpacing", fields.get("ElementSize"))
    sizes = [abs(size) for size in floats(words, count)[:3]] if words is not None else [1.0] * 3
    sizes += [1.0] * (3 - len(sizes))
    if min(sizes) < 1e-9:
        return upright_grid((1.0, 1.0, 1.0)), False, False
    matrix = _first(fields, "TransformMatrix", "Rotation", "Orientation")
    if matrix is not None and count >= 3:
        rows = np.array(floats(matrix, count * count)).reshape(count, count)[:3, :3]
        origin = floats(_first(fields, "Offset", "Position", "Origin") or " 0" * count, count)[:3]
        steps = [[size * value for value in row] for size, row in zip(sizes, rows.tolist(), strict=True)]
        affine = placed(grid(steps, origin))
        if affine is not None:
            return affine, True, words is not None
    return upright_grid((sizes[0], sizes[1], sizes[2])), False, words is not None


def _first(fields: dict[str, str], *names: str) -> str | None:
    return next((fields[name] for name in names if name in fields), None)


def _data_file(name: str) -> str | None:
    if name.upper() == "LOCAL":
        return None
    if name.upper().startswith("LIST") or "%" in name:
        raise ReadFailure("its voxels are spread over several files; join them in one volume first")
    return name
