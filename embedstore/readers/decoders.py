"""One decoder per transfer syntax, chosen by measurement after its pixels were proven (docs/formats.md)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from pydicom.uid import UID

from embedstore.errors import ReadFailure
from embedstore.readers.decoders_jpeg import (
    Decoded,
    decode_jpeg,
    decode_jpeg2000,
    decode_jpegls,
    decode_jpegxl,
)
from embedstore.readers.decoders_layout import Layout
from embedstore.readers.decoders_native import decode_native, subsampled
from embedstore.readers.decoders_rle import decode_rle

Decoder = Callable[[bytes, Layout], Decoded]
_JPEG = "1.2.840.10008.1.2.4."


def _native(frame: bytes, layout: Layout) -> Decoded:
    return _as_stored(decode_native(frame, layout), layout)


def _rle(frame: bytes, layout: Layout) -> Decoded:
    return _as_stored(decode_rle(frame, layout), layout)


def _deflated(frame: bytes, layout: Layout) -> Decoded:
    """Each frame deflated by itself (PS3.5 A.4.16); a byte of padding may follow."""
    size = (layout.pixels * (2 if subsampled(layout) else layout.samples) * layout.allocated + 7) // 8
    try:
        return _native(zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, size), layout)
    except zlib.error:
        raise ReadFailure("a deflated frame is damaged") from None


def _as_stored(values: NDArray[Any], layout: Layout) -> Decoded:
    return Decoded(values, layout.photometric, layout.stored)


# T.81 processes 1 to 14 that are not hierarchical; T.87; T.800 and T.814; 18181; PS3.5 annex G and A.4.
_ENCAPSULATED: dict[str, Decoder] = {
    **{f"{_JPEG}{number}": decode_jpeg for number in (50, 51, 52, 53, 54, 55, 56, 57, 70)},
    **{f"{_JPEG}{number}": decode_jpegls for number in (80, 81)},
    **{f"{_JPEG}{number}": decode_jpeg2000 for number in (90, 91, 201, 202, 203)},
    **{f"{_JPEG}{number}": decode_jpegxl for number in (110, 111, 112)},
    "1.2.840.10008.1.2.5": _rle,
    "1.2.840.10008.1.2.1.98": _native,
    "1.2.840.10008.1.2.8.1": _deflated,
}
_NATIVE = frozenset(
    {
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.113619.5.2",  # GE: implicit, big endian pixels
    }
)
_NAMES = {
    f"{_JPEG}110": "JPEG XL Lossless",
    f"{_JPEG}111": "JPEG XL JPEG Recompression",
    f"{_JPEG}112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}


def encapsulated(syntax: UID) -> bool:
    """Whether pixel data of this transfer syntax come in fragments."""
    return syntax not in _NATIVE


def decoder_of(syntax: UID) -> Decoder | None:
    """The decoder of one encoded frame; None for native pixel data and for unknown syntaxes."""
    return _ENCAPSULATED.get(syntax)


def decodable(syntax: UID) -> bool:
    """Whether there is a way to the pixels."""
    return syntax in _NATIVE or syntax in _ENCAPSULATED


def syntax_name(syntax: UID) -> str:
    """A transfer syntax in words, without echoing an unknown one."""
    return _NAMES.get(syntax) or (syntax.name if syntax.name != syntax else "unknown transfer syntax")
