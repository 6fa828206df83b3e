"""Text from files cannot steer a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstore.pages.text import one_line, terminal_safe

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x1b\x9b\x9d\x07\r\n\t\x00\x7f\x08" + BIDI + "[];0123m?hJKlABC\\"),
        st.characters(categories=["Cs"]),
    ),
    max_size=60,
)


@pytest.mark.parametrize(
    ("hostile", "clean"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;c2VjcmV0\x07clipboard", "clipboard"),
        ("\x9b31mC1", "C1"),
        ("\x1bPq#0;2;0;0;0\x1b\\sixel", "sixel"),
        ("over\rwritten", "overwritten"),
        ("back\x08space", "backspace"),
        ("no\u202egnp.exe", "nognp.exe"),
        ("two\r\nlines\u2028three", "two\nlines\nthree"),
        ("tab\tstays", "tab\tstays"),
        ("caf\u00e9 \u5fc3\u81d3 \U0001fac0", "caf\u00e9 \u5fc3\u81d3 \U0001fac0"),
        ("name\udcff", "name\ufffd"),
        ("unterminated \x1b]0;keeps the words", "unterminated 0;keeps the words"),
    ],
)
def test_known_tricks_are_defused(hostile: str, clean: str) -> None:
    assert terminal_safe(hostile) == clean


@given(HOSTILE)
def test_nothing_that_steers_is_left(text: str) -> None:
    safe = terminal_safe(text)
    assert not [c for c in safe if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    assert not set(safe) & set(BIDI)
    safe.encode("utf-8")
    assert terminal_safe(safe) == safe


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_plain_text_is_left_alone(text: str) -> None:
    assert terminal_safe(text) == text


@given(HOSTILE, st.integers(min_value=1, max_value=40))
def test_one_line_is_one_line_and_no_longer_than_asked(text: str, longest: int) -> None:
    line = one_line(text, longest)
    assert len(line) <= longest
    assert "\n" not in line
    assert "\t" not in line
