"""Which profile of PS3.15 Annex E is applied, with which of its options."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from embedstore.errors import UsageError
from embedstore.privacy.table import Row

# Names on the command line, in the order in which a profile is written out.
_WORDS = {
    "modified-dates": "modified_dates",
    "full-dates": "full_dates",
    "patient-characteristics": "patient",
    "clean-descriptors": "descriptors",
    "clean-structured": "structured",
    "clean-graphics": "graphics",
    "retain-uids": "uids",
    "retain-device": "device",
    "retain-institution": "institution",
    "reviewed-pixels": "reviewed_pixels",
    "skip-ocr": "skip_ocr",
}
_NAMED = {
    "basic": (),
    "research": ("modified_dates", "patient", "descriptors", "device"),
}
# PS3.16 CID 7050 De-identification Method.
_CODES = {
    "graphics": ("113103", "Clean Graphics Option"),
    "structured": ("113104", "Clean Structured Content Option"),
    "descriptors": ("113105", "Clean Descriptors Option"),
    "full_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "modified_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "uids": ("113110", "Retain UIDs Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
}
# What a conditional action becomes when the IOD is not consulted: the choice that conforms for
# every IOD, since a Type 1 attribute must hold a value and a Type 2 attribute must be there.
_CONFORMING = {"X/Z": "Z", "X/D": "D", "Z/D": "D", "X/Z/D": "D", "X/Z/U*": "U"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The Basic Profile with options of PS3.15 E.3; all off is the Basic Profile itself.

    reviewed_pixels: whoever asks vouches that pixels of unknown origin bear no identifying text; images
      that say of themselves that they do are still held back. skip_ocr: no second look by tesseract.
    """

    modified_dates: bool = False
    full_dates: bool = False
    patient: bool = False
    descriptors: bool = False
    structured: bool = False
    graphics: bool = False
    uids: bool = False
    device: bool = False
    institution: bool = False
    reviewed_pixels: bool = False
    skip_ocr: bool = False

    def __post_init__(self) -> None:
        if self.modified_dates and self.full_dates:
            raise UsageError("dates are either shifted (modified-dates) or kept (full-dates); choose one")

    @classmethod
    def parse(cls, text: str) -> Profile:
        """`basic`, `research`, or one of them with options: `basic+modified-dates+clean-descriptors`.

        Raises UsageError naming what there is.
        """
        name, *options = [word.strip() for word in text.lower().split("+")]
        if name not in _NAMED:
            raise UsageError(f"no privacy profile is called '{name}'; there are: {', '.join(_NAMED)}")
        chosen = dict.fromkeys(_NAMED[name], True)
        for option in options:
            if option not in _WORDS:
                raise UsageError(f"no privacy option is called '{option}'; there are: {', '.join(_WORDS)}")
            chosen[_WORDS[option]] = True
        if "full-dates" in options and "modified-dates" not in options:
            chosen.pop("modified_dates", None)
        return replace(cls(), **chosen)

    def __str__(self) -> str:
        return "+".join(["basic", *(word for word, name in _WORDS.items() if getattr(self, name))])

    @property
    def options(self) -> tuple[str, ...]:
        """Columns of the table that are in force."""
        return tuple(f.name for f in fields(self) if f.name in _CODES and getattr(self, f.name))

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """(code value, meaning) of the methods in force, coding scheme DCM."""
        basic = ("113100", "Basic Application Confidentiality Profile")
        return (basic, *sorted(_CODES[name] for name in self.options))

    def action(self, row: Row) -> str:
        """X, Z, D, U, K or C for a row under this profile.

        Where two options disagree the attribute is cleaned, not kept: the narrower of two permissions.
        """
        said = {row.options[name] for name in self.options if name in row.options}
        if "C" in said:
            return "C"
        return "K" if said else _CONFORMING.get(row.basic, row.basic)
