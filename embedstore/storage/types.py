"""Column types that mean the same on SQLite and PostgreSQL, and the cleaning of what goes into them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Dialect, Double, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB, TEXT
from sqlalchemy.types import TypeDecorator, TypeEngine

from embedstore.contracts.record import Scalar

_RAW_BYTE = 0xEF00  # private-use code points U+EF80..U+EFFF stand for the bytes 0x80..0xFF
_INT64 = 2**63

#: Row ids. SQLite wants INTEGER for its AUTOINCREMENT, PostgreSQL a 64-bit identity.
Id: TypeEngine[Any] = BigInteger().with_variant(Integer(), "sqlite")
Count: TypeEngine[Any] = BigInteger().with_variant(Integer(), "sqlite")
Number: TypeEngine[Any] = Double()
#: Text that compares by code point everywhere: SQLite does, PostgreSQL needs the "C" collation.
PlainText: TypeEngine[Any] = Text().with_variant(Text(collation="C"), "postgresql")
Json: TypeEngine[Any] = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class PathText(TypeDecorator[str]):
    """A file path, also one whose name is not UTF-8 (Python's surrogate escapes), stored without loss.

    Bytes that are not UTF-8 become private-use code points as in MirBSD's OPTU encoding; a
    path that contains such code points itself is written byte by byte, so reading gives back what was put in.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text with code-point order."""
        return dialect.type_descriptor(TEXT(collation="C") if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """From Python to SQL."""
        return None if value is None else encode_path(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """From SQL to Python."""
        return None if value is None else decode_path(value)


def encode_path(path: str) -> str:
    """A path as valid Unicode text; ordinary paths are unchanged."""
    if path.isascii():
        return path
    return "".join(_encode_character(c) for c in path)


def _encode_character(c: str) -> str:
    code = ord(c)
    if 0xDC80 <= code <= 0xDCFF:
        return chr(_RAW_BYTE + code - 0xDC00)
    if 0xEF80 <= code <= 0xEFFF:
        return "".join(chr(_RAW_BYTE + byte) for byte in c.encode())
    return "�" if 0xD800 <= code <= 0xDFFF else c


def decode_path(text: str) -> str:
    """The inverse of `encode_path`."""
    if text.isascii() or not any(0xEF80 <= ord(c) <= 0xEFFF for c in text):
        return text
    escaped = "".join(chr(ord(c) - _RAW_BYTE + 0xDC00) if 0xEF80 <= ord(c) <= 0xEFFF else c for c in text)
    return os.fsdecode(escaped.encode("utf-8", "surrogateescape"))


def clean_text(text: str) -> str:
    """Text that both databases accept: no NUL, no lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def clean_scalar(value: Any) -> Scalar | None:
    """A value fit for a column or a JSON attribute: finite, within 64 bits, else text or None."""
    if value is None or isinstance(value, float):
        return value if value is None or math.isfinite(value) else None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    return clean_text(str(value))


def clean_extra(extra: Mapping[str, Any]) -> dict[str, Scalar]:
    """The attributes of a header without unknown values."""
    cleaned = ((clean_text(str(name)), clean_scalar(value)) for name, value in extra.items())
    return {name: value for name, value in cleaned if value is not None}


def now() -> str:
    """The present as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
