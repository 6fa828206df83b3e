"""Heads and their evaluations as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.requests import HeadCard


def card_lines(card: HeadCard) -> Iterator[Renderable]:
    """A head as the terminal shows it."""
    from embedstore.cli.output import facts

    yield f"Head '{card.name}' for {card.target}: {', '.join(card.classes)} ({card.encoder})"
    yield from facts((f"split {name}", _words(value)) for name, value in card.split.items())
    yield from facts((f"fit {name}", _words(value)) for name, value in card.fit.items())
    yield from (f"Warning: {warning}." for warning in card.warnings)


def _words(value: Any) -> Any:
    from embedstore.cli.output import estimate

    if isinstance(value, Mapping) and "metric" in value:
        name = str(value["metric"]).replace("_", " ")
        return f"{name} {estimate(value)}, {value['n_images']} images, {value['n_patients']} patients"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items()) or None
    if isinstance(value, list | tuple):
        return ", ".join(str(_words(one)) for one in value) or None
    return f"{value:.4g}" if isinstance(value, float) else value


def control_line(control: Mapping[str, Any]) -> str:
    """The fits to shuffled labels, in a sentence."""
    from embedstore.cli.output import estimate

    words = (
        f"Control: the same fit on labels shuffled between patients, {control.get('shuffles', '?')} times: "
    )
    words += f"{control.get('metric', 'score')} {estimate(control)}, the interval over shuffles"
    p_value = control.get("p_value")
    return f"{words}, p {p_value:.3f}." if isinstance(p_value, float) else f"{words}."


def set_lines(sets: Mapping[str, Any]) -> Iterator[Renderable]:
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


def part_lines(parts: Mapping[str, Any]) -> Iterator[Renderable]:
    """Uncertainty in two parts."""
    from embedstore.cli.output import estimate

    if parts:
        told = ", ".join(f"{name} {estimate(parts[name])}" for name in ("aleatoric", "epistemic"))
        yield f"Mean uncertainty by {parts['by']} ({parts['unit']}): {told}."
