"""What a page shows, free of where it came from: pictures with captions, tables, charts, sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Series = Literal["encoder", "baseline", "control"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number with its interval at `level`; low and high are None where there is none.

    n_images, n_patients, n_positives: what it rests on, None where that is not known or makes no sense (a
    ranking has no positives). method: of the interval.
    """

    value: float
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n_images: int | None = None
    n_patients: int | None = None
    n_positives: int | None = None
    method: str = ""

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


Cell = str | int | float | Interval | None
Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A short mark beside a picture. tone: "yes" for what was looked for, "no" against it, "plain" else."""

    text: str
    tone: Literal["yes", "no", "plain"] = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A picture (PNG or JPEG bytes, None for a text) with its caption. text: a report, shown as written."""

    image: bytes | None
    title: str
    lines: tuple[str, ...] = ()
    chips: tuple[Chip, ...] = ()
    score: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Pictures under one heading; `query` stands before what it found. command: the same in a shell."""

    title: str
    tiles: tuple[Tile, ...]
    text: str = ""
    command: str = ""
    query: Tile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text; cells that are an Interval or a number stand right."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestRow:
    """One line of a forest plot. group: rows of one group stand together under its name."""

    group: str
    label: str
    series: Series
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Numbers with intervals on one axis, and where chance lies. note: one line under the picture."""

    title: str
    axis: str
    rows: tuple[ForestRow, ...]
    note: str = ""
    low: float = 0.2
    high: float = 1.0
    chance: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """A bin of a reliability diagram: mean predicted probability, observed share with its interval, images in
    it."""

    predicted: float
    observed: float
    images: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Said against seen, for one classifier. note: one line under the picture."""

    title: str
    bins: tuple[Bin, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line through (x, y), with a band between low and high where they are given. NaN breaks it off."""

    label: str
    series: Series
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Lines over x from 0 to 1. bottom, top: of the y axis. note: under it; says by how many images."""

    title: str
    across: str
    up: str
    lines: tuple[Line, ...]
    note: str
    bottom: float = 0.0
    top: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One chapter of a page. lead: a sentence or two. command: how to do it in a shell."""

    title: str
    lead: str = ""
    command: str = ""
    galleries: tuple[Gallery, ...] = ()
    tables: tuple[Table, ...] = ()
    forests: tuple[Forest, ...] = ()
    reliabilities: tuple[Reliability, ...] = ()
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryRecord:
    """A page in chapters. banner: the warning over everything, "" for none. facts: (number, what it counts).

    glossary: (term, what it means).
    """

    title: str
    subtitle: str
    banner: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    glossary: tuple[tuple[str, str], ...]
    made: str
