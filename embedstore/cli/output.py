"""What goes to stdout: one JSON document, or text and tables that hold 100 columns.

Nothing that came from a file, header, report or CSV reaches the terminal with control characters in it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from embedstore.cli.failures import OutputClosed
from embedstore.pages.text import terminal_safe

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    Renderable = RenderableType

WIDTH = 100


def plain(value: Any) -> Any:
    """A value as JSON knows it: dataclasses and mappings to objects, NaN and infinities to null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist") and not isinstance(value, str | bytes):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document in ASCII, so that no name in it can steer a terminal."""
    _write(json.dumps(plain(document), indent=2, allow_nan=False) + "\n")


def print_text(blocks: Iterable[Renderable]) -> None:
    """Lines (as they are, cleaned) and tables, one below the other."""
    console = _console()
    with console.capture() as captured:
        for block in blocks:
            if isinstance(block, str):
                console.print(
                    terminal_safe(block), markup=False, highlight=False, emoji=False, soft_wrap=True
                )
            else:
                console.print()
                console.print(block)
                console.print()
    _write("\n".join(line.rstrip() for line in captured.get().split("\n")))


def _console() -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise OutputClosed from error


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str = "",
    widest: str = "",
    longest: int = 24,
) -> RenderableType:
    """A table whose cells are cleaned text, one line each; numbers stand right.

    widest: the column that takes the room that is left; the others are cut past `longest` signs. A cut shows
    as an ellipsis: at the start of paths (their end tells them apart), in the middle of patients, which stay
    long enough to be told apart, and at the end of anything else.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    kept = [tuple(row) for row in rows]
    cells = [tuple(_cell(value) for value in row) for row in kept]
    widths = _widths(columns, kept, widest, longest)
    made = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, show_edge=False
    )
    for position, name in enumerate(columns):
        numeric = _is_numeric(row[position] for row in kept)
        heading = Text(_cut(_cell(name), widths[position]))
        made.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for row in cells:
        made.add_row(*(Text(_cut(*one)) for one in zip(row, widths, columns, strict=True)))
    return made


def tables(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[RenderableType]:
    """The same, but nothing is cut that may be whole: a table that is too wide goes on in a second one.

    The first column names the rows and is repeated.
    """
    from rich.cells import cell_len

    def width(position: int) -> int:
        return max(cell_len(_cell(text)) for text in (columns[position], *(row[position] for row in rows)))

    room = _console().width
    taken: list[int] = [0]
    groups = [taken]
    used = min(width(0), _WHOLE)
    for position in range(1, len(columns)):
        needed = 3 + min(width(position), _WHOLE)
        if used + needed > room and len(taken) > 1:
            taken = [0]
            groups.append(taken)
            used = min(width(0), _WHOLE)
        taken.append(position)
        used += needed
    for group in groups:
        chosen = [tuple(row[position] for position in group) for row in rows]
        yield table([columns[position] for position in group], chosen, longest=_WHOLE)


_WHOLE = 64
_PATHS = ("path", "where", "file")
_PATIENTS = ("patient",)
_KEPT, _LONGEST_KEPT = 16, 40  # signs of a patient; as many of them as tell patients apart
# Least widths of the widest column and of other text, tried in turn until the table fits.
_SQUEEZES = ((40, 16), (30, 10), (20, 8), (8, 5))


def _is_numeric(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float | None) and not isinstance(value, bool) for value in values)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[Any]], widest: str, longest: int) -> list[int]:
    """Of each column, so that the table holds the width of the terminal; numbers are never cut."""
    from rich.cells import cell_len

    each = list(zip(*rows, strict=True)) or [()] * len(columns)
    contents = [max((cell_len(_cell(value)) for value in values), default=0) for values in each]
    widths = [
        content if name == widest else min(content, longest)
        for name, content in zip(columns, contents, strict=True)
    ]
    widths = [max(width, cell_len(name)) for width, name in zip(widths, columns, strict=True)]
    apart = [
        _telling([_cell(value) for value in values], name, min(content, _LONGEST_KEPT))
        if name in _PATIENTS
        else 0
        for name, values, content in zip(columns, each, contents, strict=True)
    ]
    widths = [max(pair) for pair in zip(widths, apart, strict=True)]
    fixed = [_is_numeric(values) for values in each]
    surplus = sum(widths) + 3 * (len(widths) - 1) - _console().width
    for room, least in _SQUEEZES:
        for position in sorted(range(len(widths)), key=lambda n: (columns[n] != widest, -widths[n])):
            floor = room if columns[position] == widest else max(least, apart[position])
            if fixed[position]:
                floor = max(contents[position], min(least, widths[position]))
            given = max(0, min(surplus, widths[position] - floor))
            widths[position] -= given
            surplus -= given
    return widths


def _telling(texts: Sequence[str], column: str, most: int) -> int:
    """The least width at which texts that differ still differ when they are cut."""
    distinct = set(texts)
    return next(
        (
            n
            for n in range(min(_KEPT, most), most)
            if len({_cut(one, n, column) for one in distinct}) == len(distinct)
        ),
        most,
    )


def _cut(text: str, width: int, column: str = "") -> str:
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    if column in _PATHS:
        return "…" + _end_of(text, width - 1)
    if column in _PATIENTS:
        end = _end_of(text, (width - 1) // 2)
        return set_cell_size(text, width - 1 - cell_len(end)).rstrip() + "…" + end
    return set_cell_size(text, width - 1).rstrip() + "…"


def _end_of(text: str, width: int) -> str:
    from rich.cells import cell_len

    while cell_len(text) > width:
        text = text[1:]
    return text


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    return " ".join(terminal_safe(str(value)).split())


def short_cell(value: Any) -> Any:
    """A value of an open-ended record for a table: fingerprints by their first 12 signs, lists joined."""
    if isinstance(value, str) and len(value) == 64:
        return value[:12]
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value


def facts(pairs: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Lines of `name  value` with the values under one another; those that are None are left out."""
    kept = [(name, value) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        yield f"{name.ljust(width)}  {_cell(value)}"


def estimate(value: Any) -> str:
    """A number with its 95 % interval: `0.912 [0.880, 0.941]`; a bare number without one."""
    if isinstance(value, Mapping):
        if value.get("value") is None or math.isnan(value["value"]):
            return str(value.get("reason") or "not defined")
        text = f"{float(value['value']):.3f}"
        if value.get("low") is not None and value.get("high") is not None:
            text += f" [{float(value['low']):.3f}, {float(value['high']):.3f}]"
        return text
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(octets: int) -> str:
    """Bytes in the unit that reads best."""
    amount = float(octets)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
