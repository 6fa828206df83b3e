"""Estimates as a page shows them: each row of a table carries what its number rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedstore.evaluation.intervals import Estimate
from embedstore.pages.records import Cell, Interval, Row

MEASURED = ("value [95 % interval]", "images", "patients", "positives", "method")

Found = Estimate | Mapping[str, Any]
"""An estimate of the evaluation room, or its JSON."""


def measured(name: str, found: Found) -> Row:
    """A table row of one number with all that backs it; columns `MEASURED` after the name."""
    plain = _plain(found)
    counts = (plain["n_images"], plain["n_patients"], plain["n_positives"])
    return (name, shown(plain), *counts, plain["method"])


def shown(found: Found) -> Cell:
    """The number with its interval as a cell, "not defined" where there is none."""
    return "not defined" if _plain(found).get("value") is None else interval(found)


def interval(found: Found) -> Interval:
    """The number with its interval and its backing; NaN where it is not defined."""
    plain = _plain(found)
    value = plain.get("value")
    backing = {
        name: plain[name]
        for name in ("level", "n_images", "n_patients", "n_positives", "method")
        if name in plain
    }
    if value is None:
        return Interval(value=float("nan"), **backing)
    return Interval(value=float(value), low=plain.get("low"), high=plain.get("high"), **backing)


def resting_on(found: Sequence[tuple[str, Found]], what: str = "bars") -> str:
    """What stands under a picture of estimates of the same images: (finding, estimate) each."""
    plain = [(name, _plain(one)) for name, one in found]
    first = plain[0][1]
    positives = ", ".join(
        f"{one['n_positives']} {'positives ' if not place else ''}({name})"
        for place, (name, one) in enumerate(plain)
    )
    counts = f"{first['n_images']} images, {first['n_patients']} patients, {positives}"
    return f"{counts}; {what}: {first['level']:.0%}, {first['method']}"


def _plain(found: Found) -> Mapping[str, Any]:
    return found.to_json() if isinstance(found, Estimate) else found
