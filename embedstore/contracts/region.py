"""Regions of interest: what is meant, and what is kept of one in a store."""

from __future__ import annotations

from dataclasses import dataclass

_MARK = "#"


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels of the frame as stored, x to the right, y down; right and bottom are excluded."""

    left: int
    top: int
    right: int
    bottom: int

    def __str__(self) -> str:
        return f"{self.left},{self.top},{self.right},{self.bottom}"


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A file with a mask, or `ARCHIVE!/MEMBER`. segment: number or label of the one that is meant.

    None means the only segment of a SEG or RTSTRUCT, and whatever is not zero in other files.
    """

    path: str
    segment: str | None = None


Region = Box | MaskFile


@dataclass(frozen=True, slots=True)
class Extent:
    """What a region was found to be on an image. pixels: how many it has; box: the smallest around them."""

    pixels: int
    box: Box


def region_part(part: str, key: str) -> str:
    """The part key of a region. part: of its image; key: what tells it from the image's other regions."""
    return f"{part}{_MARK}{key}"


def image_part(part: str) -> str:
    """The part key of the image that a region lies on."""
    return part.rpartition(_MARK)[0]
