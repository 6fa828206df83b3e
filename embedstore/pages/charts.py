"""Charts as inline SVG that take their colours from the page's style sheet; labels are escaped."""

from __future__ import annotations

from itertools import groupby

from markupsafe import Markup

from embedstore.pages.records import Bin, Forest, Interval, Line, Plot, Reliability
from embedstore.pages.text import one_line

_WIDTH, _LEFT, _RIGHT, _ROW, _HEAD = 800, 250, 190, 24, 30
_LABEL = 118
_SIDE, _PAD = 220, 40  # of square charts


def forest_svg(forest: Forest) -> Markup:
    """A forest plot: a line per number with its interval, chance as a dashed line."""
    body: list[Markup] = []
    y = _HEAD
    for group, rows in groupby(forest.rows, key=lambda row: row.group):
        body.append(_text(0, y + 16, group, "group"))
        for row in rows:
            body.append(_text(_LABEL, y + 16, row.label, "label"))
            body.append(_whisker(forest, row.interval, y + 12, row.series))
            body.append(_text(_WIDTH, y + 16, str(row.interval), "value", anchor="end"))
            y += _ROW
        y += 10
    grid = [_gridline(forest, tick, y) for tick in _ticks(forest)]
    chance = _across(forest, forest.chance)
    grid.append(
        Markup('<line class="chance" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(
            chance, _HEAD - 6, y
        )
    )
    grid.append(_text(chance, _HEAD - 12, "chance", "tick", anchor="middle"))
    grid.append(_text(_LEFT + (_WIDTH - _LEFT - _RIGHT) / 2, y + 34, forest.axis, "tick", anchor="middle"))
    return _svg(forest.title, _WIDTH, y + 40, grid + body)


def _ticks(forest: Forest) -> list[float]:
    first, last = round(forest.low * 10), round(forest.high * 10)
    return [tick / 10 for tick in range(first, last + 1)]


def _across(forest: Forest, value: float) -> float:
    share = (min(max(value, forest.low), forest.high) - forest.low) / (forest.high - forest.low)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _gridline(forest: Forest, tick: float, bottom: int) -> Markup:
    x = _across(forest, tick)
    line = Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(
        x, _HEAD - 6, bottom
    )
    return line + _text(x, bottom + 16, f"{tick:.1f}", "tick", anchor="middle")


def _whisker(forest: Forest, interval: Interval, y: int, series: str) -> Markup:
    low = interval.value if interval.low is None else interval.low
    high = interval.value if interval.high is None else interval.high
    return Markup(
        '<g class="{series}"><line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>'
        '<circle cx="{at:.1f}" cy="{y}" r="5"/></g>'
    ).format(
        series=series,
        low=_across(forest, low),
        high=_across(forest, high),
        at=_across(forest, interval.value),
        y=y,
    )


def reliability_svg(chart: Reliability) -> Markup:
    """A reliability diagram: dots on the diagonal mean that said probabilities come true."""
    most = max((one.images for one in chart.bins), default=1)
    parts = [_frame(), _diagonal()]
    points = [(_right(one.predicted), _up(one.observed), one) for one in chart.bins]
    if len(points) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        parts.append(Markup('<polyline class="trace" points="{}"/>').format(path))
    for x, y, one in points:
        parts += _spread(x, one)
        dot = Markup(
            '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{} images</title></circle>'
        )
        parts.append(dot.format(x, y, 3 + 5 * (one.images / most) ** 0.5, one.images))
    parts += _axes("said", "seen", 0.0, 1.0)
    parts.append(_text(_PAD + _SIDE / 2, _PAD - 12, chart.title, "group", anchor="middle"))
    return _svg(f"Calibration: {chart.title}", _SIDE + 2 * _PAD, _SIDE + 2 * _PAD + 4, parts)


def plot_svg(chart: Plot) -> Markup:
    """Lines with their bands in a square; their names stand below it."""
    parts = [_frame()]
    if chart.across == "1 - specificity":
        parts.append(_diagonal())
    for line in chart.lines:
        parts += _drawn(chart, line)
    parts += _axes(chart.across, chart.up, chart.bottom, chart.top)
    parts.append(_text(_PAD + _SIDE / 2, _PAD - 12, chart.title, "group", anchor="middle"))
    low = _SIDE + 2 * _PAD + 12
    for place, line in enumerate(chart.lines if len(chart.lines) > 1 else ()):
        y = low + 18 * place
        key = Markup('<g class="{}"><line x1="{}" x2="{}" y1="{}" y2="{}"/></g>')
        parts += [
            key.format(line.series, _PAD, _PAD + 22, y - 4, y - 4),
            _text(_PAD + 30, y, line.label, "label"),
        ]
    keys = 18 * len(chart.lines) if len(chart.lines) > 1 else 0
    return _svg(chart.title, _SIDE + 2 * _PAD, low - 8 + keys, parts)


def _drawn(chart: Plot, line: Line) -> list[Markup]:
    def place(x: float, y: float) -> tuple[float, float]:
        inside = min(max(y, chart.bottom), chart.top)
        return _right(x), _up((inside - chart.bottom) / (chart.top - chart.bottom))

    parts = []
    if line.low:
        band = [one for one in zip(line.x, line.low, line.high, strict=True) if one[1] == one[1]]
        corners = [place(x, low) for x, low, _ in band] + [place(x, high) for x, _, high in reversed(band)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        parts.append(Markup('<polygon class="band {}" points="{}"/>').format(line.series, points))
    known = [place(x, y) for x, y in zip(line.x, line.y, strict=True) if y == y]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in known)
    parts.append(Markup('<polyline class="curve {}" points="{}"/>').format(line.series, points))
    return parts


def _spread(x: float, one: Bin) -> list[Markup]:
    if one.low is None or one.high is None:
        return []
    bar = Markup('<line class="spread" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>')
    return [bar.format(x, _up(one.low), _up(one.high))]


def _right(share: float) -> float:
    return _PAD + _SIDE * share


def _up(share: float) -> float:
    return _PAD + _SIDE * (1 - share)


def _frame() -> Markup:
    return Markup('<rect class="frame" x="{0}" y="{0}" width="{1}" height="{1}"/>').format(_PAD, _SIDE)


def _diagonal() -> Markup:
    return Markup('<line class="chance" x1="{0}" y1="{1}" x2="{1}" y2="{0}"/>').format(_PAD, _PAD + _SIDE)


def _axes(across: str, up: str, bottom: float, top: float) -> list[Markup]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        height = bottom + share * (top - bottom)
        digits = 1 if (bottom, top) == (0.0, 1.0) else 2
        parts.append(_text(_right(share), _PAD + _SIDE + 16, f"{share:.1f}", "tick", anchor="middle"))
        parts.append(_text(_PAD - 6, _up(share) + 4, f"{height:.{digits}f}", "tick", anchor="end"))
    parts.append(_text(_PAD + _SIDE / 2, _PAD + _SIDE + 32, across, "tick", anchor="middle"))
    turned = Markup('<g transform="rotate(-90)">{}</g>')
    parts.append(turned.format(_text(-(_PAD + _SIDE / 4), 12, up, "tick", anchor="middle")))
    return parts


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> Markup:
    said = one_line(text, 60)
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, said
    )


def _svg(title: str, width: int, height: int, parts: list[Markup]) -> Markup:
    opening = Markup(
        '<svg class="chart" viewBox="0 0 {0} {1}" style="max-width:{0}px" role="img" aria-label="{2}">'
    )
    drawn = Markup("").join(parts)
    return opening.format(width, height, one_line(title)) + drawn + Markup("</svg>")
