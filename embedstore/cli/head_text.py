"""Heads and their evaluations as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.requests import HeadCard, HeadReport


def card_lines(card: HeadCard) -> Iterator[Renderable]:
    """A head as the terminal shows it."""
    from embedstore.cli.output import facts

    yield f"Head '{card.name}' for {card.target}: {', '.join(card.classes)} ({card.encoder})"
    yield from facts((f"split {name}", _words(value)) for name, value in card.split.items())
    yield from facts((f"fit {name}", _words(value)) for name, value in card.fit.items())


def _words(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items()) or None
    if isinstance(value, list | tuple):
        return ", ".join(str(_words(one)) for one in value) or None
    return f"{value:.4g}" if isinstance(value, float) else value


def _control(control: Mapping[str, Any]) -> str:
    from embedstore.cli.output import estimate

    words = (
        f"Control: the same fit on labels shuffled between patients, {control.get('shuffles', '?')} times: "
    )
    words += f"{control.get('metric', 'score')} {estimate(control)}, the interval over shuffles"
    p_value = control.get("p_value")
    return f"{words}, p {p_value:.3f}." if isinstance(p_value, float) else f"{words}."


def _sets(sets: Mapping[str, Any]) -> Iterator[Renderable]:
    """What the conformal sets promise and hold."""
    from embedstore.cli.output import estimate, table

    if not sets:
        return
    if "achieved" not in sets:
        yield (
            f"{sets['n_flagged']} of {sets['n_images']} images are called unlike the reference at a false "
            f"discovery rate of {sets['fdr']:.0%}: found {estimate(sets['power'])} of those that are, "
            f"wrong {estimate(sets['false_discoveries'])} ({sets['method']})."
        )
        return
    achieved = sets["achieved"]
    rows = [("all", achieved["overall"]), *achieved["by_class"].items()]
    rows += [(f"site {name or 'unknown'}", one) for name, one in achieved["by_group"].items()]
    yield table(
        ("images", f"coverage, {sets['promised']:.0%} promised"),
        [(name, estimate(one)) for name, one in rows],
        title=f"Conformal sets ({sets['method'].upper()}); classes in a set: {estimate(achieved['size'])}",
    )
    worst = max(sets["guarantees"], key=lambda one: one["miss"])
    yield (
        f"With {worst['n']} patients to calibrate on, the coverage lies under the promise with a chance of "
        f"{worst['miss']:.2f} (expected {worst['expected']:.3f}, sd {worst['sd']:.3f})."
    )


def _parts(parts: Mapping[str, Any]) -> Iterator[Renderable]:
    from embedstore.cli.output import estimate

    if parts:
        told = ", ".join(f"{name} {estimate(parts[name])}" for name in ("aleatoric", "epistemic"))
        yield f"Mean uncertainty by {parts['by']} ({parts['unit']}): {told}."


def report_lines(report: HeadReport) -> Iterator[Renderable]:
    """An evaluation as the terminal shows it."""
    from embedstore.cli.output import estimate, table

    counts = ", ".join(f"{number} {name}" for name, number in report.counts.items())
    yield f"Head '{report.head}' on patients it was not fitted on: {counts}."
    yield table(
        ("metric", "value [95 % interval, by patient]"),
        [(name, estimate(one)) for name, one in report.metrics.items()],
    )
    if report.shuffled:
        yield _control(report.shuffled)
    yield from _sets(report.conformal)
    yield from _parts(report.uncertainty)
    filled = [row for row in report.reliability if row.get("n")]
    if filled:
        columns = tuple(filled[0])
        yield table(
            tuple(name.replace("_", " ") for name in columns),
            [tuple(row.get(name) for name in columns) for row in filled],
            title="Calibration: predicted against observed",
        )
    yield from (f"Note: {note}" for note in report.notes)
