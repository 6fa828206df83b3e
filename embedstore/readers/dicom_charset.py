"""Text out of DICOM bytes by Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1); never an error."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from functools import lru_cache

from pydicom.charset import decode_bytes, default_encoding

_ESC = b"\x1b"
# CR, LF, FF, TAB and the value delimiter set code elements back to the first character set (PS3.5 6.1.2.5.3).
_DELIMITERS = {0x0D, 0x0A, 0x09, 0x0C, 0x5C}
_CONTROL = dict.fromkeys([*range(32), *range(127, 160)])
_LINE_CONTROL = dict.fromkeys(code for code in _CONTROL if chr(code) not in "\n\r\t")


def decode(data: bytes, encodings: str | Sequence[str]) -> str:
    r"""The characters of a text value, values of a multi-valued one still joined by backslashes.

    encodings: Python's names of the declared character sets in their order. The bytes are decoded before they
    are split, since a byte 0x5C can be half of a character in GB18030, GBK and Shift JIS. Without a
    declared set (ISO IR 6, which has no characters above 127) UTF-8 is taken where the bytes are UTF-8, else
    Latin-1. Bytes that the declared set does not have become U+FFFD.
    """
    if _ESC not in data and data.isascii():
        return data.decode("ascii")
    names = _names(encodings if isinstance(encodings, str) else tuple(encodings))
    if names == (default_encoding,):
        return _undeclared(data)
    try:
        if _ESC not in data:
            return data.decode(names[0], "replace")
        return str(decode_bytes(data, names, _DELIMITERS))
    except (UnicodeError, LookupError):
        return data.decode("ascii", "replace")


def printable(text: str) -> str:
    """One line without padding and control characters that SQL databases take."""
    if text.isascii() and text.isprintable():
        return text.strip()
    return _valid(text.translate(_CONTROL)).strip()


def printable_lines(text: str) -> str:
    """As `printable`, with lines and tabs kept and every line end as one newline."""
    return _valid(text.translate(_LINE_CONTROL).replace("\r\n", "\n").replace("\r", "\n")).strip()


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _undeclared(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


@lru_cache(maxsize=128)
def _names(encodings: str | tuple[str, ...]) -> tuple[str, ...]:
    names = (encodings,) if isinstance(encodings, str) else encodings
    known = tuple(name or default_encoding for name in names)
    try:
        for name in known:
            codecs.lookup(name)
    except LookupError:
        return (default_encoding,)
    return known or (default_encoding,)
