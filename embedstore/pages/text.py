"""Text from reports, headers and tables, made harmless where it is shown. Standard library only."""

from __future__ import annotations

import re

_SEQUENCES = re.compile(
    r"""
      (?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]?                  # CSI: colours, cursor, clearing (ECMA-48 5.4)
    | (?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])              # OSC, DCS, SOS, PM, APC up to their terminator:
      (?: [^\x07\x1b\x9c\n]* (?:\x07|\x1b\\|\x9c) )?  # titles, links, clipboard
    | \x1b [ -/]* [0-~]                                      # other escapes
    """,
    re.VERBOSE,
)
_LINE_ENDS = re.compile("\r\n|\u2028|\u2029|\x85|\x0b|\x0c")
_CONTROLS = re.compile(
    "["
    "\x00-\x08\x0e-\x1f\x7f-\x9f\r"  # C0 but tab and newline, DEL, C1
    "\u00ad\u061c\u180e\u200b\u200e\u200f"  # soft hyphen, marks of direction, zero-width space
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidi overrides and isolates (UAX 9), fillers
    "\U000e0000-\U000e007f"  # tags
    "]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")


def terminal_safe(text: str) -> str:
    """`text` without anything that could steer a terminal or turn its reading order.

    Escape sequences, control characters, and bidirectional overrides are dropped; newlines and tabs
    stay; bytes that were no text (lone surrogates) become U+FFFD, so that printing cannot fail.
    """
    text = _LINE_ENDS.sub("\n", text)
    text = _SEQUENCES.sub("", text)
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def one_line(text: str, longest: int = 0) -> str:
    """`terminal_safe` text with white space collapsed, cut to `longest` characters (0: all of it)."""
    line = " ".join(terminal_safe(text).split())
    return line if not longest or len(line) <= longest else line[: longest - 1].rstrip() + "…"
