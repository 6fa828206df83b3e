"""Stand-ins for Type 1 attributes: no meaning, but valid for their VR (PS3.5 6.2)."""

from __future__ import annotations

from typing import Any

WORD = "ANONYMIZED"
_TEXT = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_NUMBERS = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
_FIXED: dict[str, Any] = {
    "AS": "000Y",
    "AT": 0,
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "TM": "000000",
    "UR": "urn:uuid:00000000-0000-0000-0000-000000000000",
}


def dummy(vr: str) -> Any:
    """A value for a VR other than SQ and UI."""
    if vr in _TEXT:
        return WORD
    if vr in _NUMBERS:
        return 0
    return _FIXED.get(vr, bytes(8))  # binary: eight bytes are whole values of every word length
