"""What a shell asks of `drift` and what it is told; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRequest:
    """reference, new: filters for the images of either side. by: columns whose values are compared apart.

    label: a column (`attr.NAME`, a bare CSV column) for label and concept shift. audit: images drawn for a
    person to label anew.
    """

    reference: str
    new: str
    by: tuple[str, ...] = ("site", "manufacturer")
    label: str | None = None
    encoder: str | None = None
    audit: int = 20
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """reference, new: counts of either side, and how many of them were drawn for the tests.

    covariate: {shifted, tests, smallest_detectable_shift}. groups: the same tests by column and value.
    label: shares of the classes, as estimated without labels and as observed; concept: change of a model's
    loss, taken apart; both None with the reason in notes. outliers: images unlike the reference. audit:
    images to label anew, {id, path, reason, p_value}; "random" ones always stand beside the strange.
    """

    space: str
    encoder: str
    reference: Mapping[str, Any]
    new: Mapping[str, Any]
    covariate: Mapping[str, Any]
    groups: tuple[Mapping[str, Any], ...]
    label: Mapping[str, Any] | None
    concept: Mapping[str, Any] | None
    outliers: Mapping[str, Any]
    audit: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()
