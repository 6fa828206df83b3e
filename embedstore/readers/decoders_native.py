"""Native frames (PS3.5 8.1.1, 8.2, A.1 to A.3): a view on the bytes, then whatever the header asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import ReadFailure
from embedstore.readers.decoders_layout import Layout

_SHORT = "pixel data are shorter than the header promises"


def frame_place(layout: Layout, index: int, frame_bytes: float) -> tuple[int, int]:
    """(first byte, bytes to read) of frame `index`, from the start of native pixel data.

    Frames need not begin at a byte when they are packed (PS3.5 8.1.1), nor at a word when they have an odd
    length in pixel data that are written as words.
    """
    if layout.allocated == 1:
        first, inside = divmod(index * layout.pixels * layout.samples, 8)
        return first, (inside + layout.pixels * layout.samples + 7) // 8
    start, length = index * int(frame_bytes), int(frame_bytes)
    if layout.words:
        return start - start % 2, length + start % 2 + (length + start % 2) % 2
    return start, length


def decode_native(data: bytes, layout: Layout, index: int = 0) -> NDArray[Any]:
    """(H, W) or (H, W, 3) stored values of the bytes at `frame_place`. The array can be written to."""
    if layout.allocated == 1:
        return _packed(data, layout, index)
    if layout.words:
        data = _unswapped(data, layout, index)
    stored = layout.dtype.newbyteorder(">" if layout.swapped else "<")
    count = layout.pixels * (2 if subsampled(layout) else layout.samples)
    if len(data) < count * stored.itemsize:
        raise ReadFailure(_SHORT)
    values = np.frombuffer(data, stored, count)
    if layout.swapped and stored.itemsize > 2 and not layout.floating:
        values = _in_order(values, layout)
    if subsampled(layout):
        values = _upsampled(values, layout)
    elif layout.planar:
        values = np.ascontiguousarray(values.reshape(3, layout.pixels).T)
    values = values.astype(layout.dtype) if layout.swapped or not values.flags.writeable else values
    return used_bits(values.reshape(layout.shape), layout)


def subsampled(layout: Layout) -> bool:
    """Whether two pixels share their chrominance: YBR_FULL_422 when it is not compressed (C.7.6.3.1.2)."""
    return layout.photometric == "YBR_FULL_422" and layout.samples == 3


def used_bits(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Only the stored bits, from High Bit downwards and with their sign; the others may hold anything.

    Before 2014 the standard let values lie above bit 0 (PS3.5 8.1.1). Works in place.
    """
    above, below = layout.allocated - 1 - layout.high, layout.high + 1 - layout.stored
    if layout.floating or (above == 0 and below == 0):
        return values
    if above:
        np.left_shift(values, above, out=values)
    np.right_shift(values, above + below, out=values)
    return values


def _packed(data: bytes, layout: Layout, index: int) -> NDArray[Any]:
    """One bit per pixel, lowest bit first."""
    count = layout.pixels * layout.samples
    inside = index * count % 8
    if len(data) * 8 < inside + count:
        raise ReadFailure(_SHORT)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[inside : inside + count]
    if layout.planar:
        bits = bits.reshape(layout.samples, layout.pixels).T
    return np.ascontiguousarray(bits.reshape(layout.shape))


def _unswapped(data: bytes, layout: Layout, index: int) -> bytes:
    """Bytes of 8-bit values in big endian words put back into their order (PS3.5 A.3)."""
    swapped = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    odd = index * layout.pixels * layout.samples % 2
    return swapped[odd:]


def _in_order(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Big endian integers of more than 16 bits, in whichever of two orders makes an image of them.

    They are words of 16 bits, the lowest first (PS3.5 7.3 and 8.1.1 with VR OW), as dcmtk and GDCM write
    them; pydicom and others write the whole integer backwards. Read in the wrong order, the low word of each
    value becomes its high one, and neighbours lie farther apart.
    """
    words = values.view(">u2").reshape(-1, values.itemsize // 2).astype("<u2")
    read = words.view(layout.dtype.newbyteorder("<"))[:, 0]
    if values.size < 2:
        return read
    apart = [np.abs(np.diff(one.astype(np.float64))).sum() for one in (read, values)]
    return read if apart[0] <= apart[1] else values


def _upsampled(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Y Y Cb Cr of two neighbours to Y Cb Cr of each; the chrominance is that of the first (C.7.6.3.1.2)."""
    pairs = values.reshape(-1, 4)
    full = np.empty((len(pairs), 2, 3), layout.dtype)
    full[:, :, 0] = pairs[:, :2]
    full[:, :, 1] = pairs[:, 2:3]
    full[:, :, 2] = pairs[:, 3:4]
    return full.reshape(layout.pixels, 3)
