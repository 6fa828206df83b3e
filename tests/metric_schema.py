"""What every number of quality carries where it leaves the program, and how to find one that does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

#: Of an estimate: an object with a `value` and an interval. n_positives is null where no class is positive.
BACKING = frozenset({"low", "high", "level", "n_images", "n_patients", "n_positives", "method"})
#: Names that are never a bare number.
METRICS = re.compile(
    r"(macro_)?auroc|accuracy|balanced_accuracy|majority_accuracy|average_precision|brier|log_loss|ece|risk|"
    r"sensitivity|specificity|ppv|npv|f1|r_at_\d+|p_at_\d+|precision(_at_k)?|recall|shuffled_control|mmd2"
)
#: Of them, those that may be null: an interval needs two patients, a ranking knows no positives.
_NULLABLE = frozenset({"low", "high", "n_positives"})
#: Beside a bare metric `x`: its interval, by these names.
_INTERVALS = {"shuffled_control": ("shuffled_interval",), "r_at_1": ("r_at_1_interval",)}
_BARE_BACKING = frozenset({"level", "n_images", "n_patients", "n_positives", "method"})
_ESTIMATE = re.compile(r"-?\d+\.\d{3} \[-?\d+\.\d{3}, -?\d+\.\d{3}\]")
_HEADING = re.compile(r"AUROC|accuracy|precision|recall|Brier|[PR]@\d+|calibration error|value \[")
_COLUMNS = ("images", "patients", "positives", "method")


def unbacked(document: Any, place: str = "$") -> Iterator[str]:
    """Places in a JSON document where a metric stands without n, interval and method."""
    if isinstance(document, Mapping):
        measured = "value" in document and {"low", "high", "metric"} & set(document)
        lacking = [name for name in sorted(BACKING) if not _told(document, name)]
        if measured and lacking:
            yield f"{place} lacks {', '.join(lacking)}"
        yield from _bare_cells(document, place)
        for name, value in document.items():
            if (
                METRICS.fullmatch(str(name))
                and isinstance(value, int | float)
                and not isinstance(value, bool)
            ):
                yield from _bare(document, str(name), place)
            yield from unbacked(value, f"{place}.{name}")
    elif isinstance(document, list | tuple):
        for number, value in enumerate(document):
            yield from unbacked(value, f"{place}[{number}]")


def _told(document: Mapping[str, Any], name: str) -> bool:
    return name in document and (name in _NULLABLE or document[name] not in (None, ""))


def _bare_cells(document: Mapping[str, Any], place: str) -> Iterator[str]:
    """Cells of a table in which a number of quality stands alone."""
    columns, rows = document.get("columns"), document.get("rows")
    if not isinstance(columns, list | tuple) or not isinstance(rows, list | tuple):
        return
    for column, name in enumerate(columns):
        cells = [row[column] for row in rows]
        if _HEADING.search(str(name)) and any(isinstance(one, int | float) for one in cells):
            yield f"{place}: column '{name}' has bare numbers"


def _bare(document: Mapping[str, Any], name: str, place: str) -> Iterator[str]:
    lacking = sorted(_BARE_BACKING - set(document))
    if not any(one in document for one in _INTERVALS.get(name, (f"{name}_interval", "interval"))):
        lacking.append("interval")
    if lacking:
        yield f"{place}.{name} lacks {', '.join(lacking)}"


class _Tables(HTMLParser):
    """The column names and rows of each table, and the captions of figures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[tuple[list[str], list[list[str]]]] = []
        self.figures: list[str] = []
        self._cell: list[str] | None = None
        self._figure = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self.tables.append(([], []))
        elif tag == "tr" and self.tables:
            self.tables[-1][1].append([])
        elif tag in ("td", "th", "figcaption"):
            self._cell = []
        elif tag == "figure":
            self.figures.append("")

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if self._cell is None or tag not in ("td", "th", "figcaption"):
            return
        text, self._cell = "".join(self._cell).strip(), None
        if tag == "figcaption":
            self.figures[-1] = text
        elif tag == "th":
            self.tables[-1][0].append(text)
        else:
            self.tables[-1][1][-1].append(text)


def unbacked_in_page(html: str) -> Iterator[str]:
    """Rows and pictures of a page that show a metric without n, interval and method."""
    page = _Tables(html)
    for columns, rows in page.tables:
        for row in rows:
            if not any(_ESTIMATE.search(cell) for cell in row):
                continue
            told = dict(zip(columns, row, strict=True))
            lacking = [name for name in _COLUMNS if not told.get(name)]
            if lacking:
                yield f"row {row[0]!r} lacks {', '.join(lacking)}"
    for caption in page.figures:
        if not re.search(r"\d+ images, \d+ patients, \d+ positives[^;]*; (band|bars): \d+ ?%, \w+", caption):
            yield f"a picture's caption tells no n, interval and method: {caption!r}"
