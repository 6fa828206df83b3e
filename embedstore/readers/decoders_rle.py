"""RLE frames (PS3.5 annex G) by the PackBits decoder of imagecodecs, one segment at a time.

The segments' places and sizes are checked first and the output is allocated here, so that nothing a file
says can make the decoder write elsewhere.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import ReadFailure
from embedstore.readers.decoders_layout import Layout
from embedstore.readers.decoders_native import used_bits

_HEADER = 64
_PADDING = 128  # a segment is padded to an even length, and its last run may pass its end
_DAMAGED = "the RLE segments cannot be decoded; they are damaged or cut short"


def decode_rle(frame: bytes, layout: Layout) -> NDArray[Any]:
    """(H, W) or (H, W, 3) stored values. Raises ReadFailure."""
    import imagecodecs

    if layout.allocated < 8:
        raise ReadFailure("pixels of one bit cannot be in RLE segments")
    width = layout.allocated // 8
    planes = np.empty((layout.samples, width, layout.pixels), np.uint8)
    room = bytearray(layout.pixels + _PADDING)
    for number, (start, end) in enumerate(_segments(frame, layout.samples * width)):
        sample, place = divmod(number, width)
        segment = np.frombuffer(imagecodecs.packbits_decode(frame[start:end], out=room), np.uint8)
        if len(segment) < layout.pixels:
            raise ReadFailure(_DAMAGED)
        planes[sample, width - 1 - place] = segment[: layout.pixels]  # the highest byte comes first
    little = replace(layout, swapped=False)
    values = np.ascontiguousarray(planes.transpose(2, 0, 1)).view(little.dtype.newbyteorder("<"))
    return used_bits(values.astype(layout.dtype, copy=False).reshape(layout.shape), layout)


def _segments(frame: bytes, expected: int) -> list[tuple[int, int]]:
    if len(frame) < _HEADER:
        raise ReadFailure(_DAMAGED)
    count, *offsets = struct.unpack("<16I", frame[:_HEADER])
    if count != expected or count > 15:
        raise ReadFailure("the RLE segments are not as many as the header's samples and bits need")
    bounds = [*offsets[:count], len(frame)]
    pairs = list(pairwise(bounds))
    if bounds[0] < _HEADER or any(start >= end for start, end in pairs):
        raise ReadFailure(_DAMAGED)
    return pairs
