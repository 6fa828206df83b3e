"""Named CT windows, in Hounsfield units."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Literal

CtWindow = Literal["lung", "mediastinum", "bone", "brain", "liver", "soft_tissue"]

#: (centre, width) in HU, as radiologists set them: Radiopaedia, "Windowing (CT)", doi:10.53347/rID-52108
#: (chest lungs and mediastinum, bone of the spine, brain, liver and soft tissues of the abdomen). Departments
#: differ by tens of HU; a recipe holds the numbers, so that a change of this table changes no stored recipe.
CT_WINDOWS: Mapping[CtWindow, tuple[float, float]] = types.MappingProxyType(
    {
        "lung": (-600.0, 1500.0),
        "mediastinum": (50.0, 350.0),
        "bone": (400.0, 1800.0),
        "brain": (40.0, 80.0),
        "liver": (30.0, 150.0),
        "soft_tissue": (50.0, 400.0),
    }
)
