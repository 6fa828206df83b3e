"""`embedstore bridge fit | list`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.lazy import PlainGroup
from embedstore.cli.shell import Shell, encoder_option, store_options, where_option

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.requests import BridgeCard


@click.group(cls=PlainGroup)
def bridge() -> None:
    """Join an image space and a text space by image-report pairs of the store.

    An encoder whose two towers share one space (CLIP and kin) needs no bridge.
    """


@bridge.command()
@click.option("--name", help="Name of the bridge; made from its kind and time when left out.")
@click.option(
    "--kind",
    type=click.Choice(["ridge", "asif"]),
    default="ridge",
    show_default=True,
    help="A ridge map, or relative representations against the pairs (ASIF).",
)
@where_option("Which images, with their reports, it may learn from.")
@encoder_option("Whose image space; the store's own by default.")
@click.option("--text-encoder", metavar="NAME", help="Whose report vectors; the store's own by default.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the folds.")
@store_options
@click.pass_obj
def fit(shell: Shell, /, **options: Any) -> None:
    """Learn a bridge and measure it on patients it did not see.

    Every image that has a report is a pair; the quality is measured on patient-disjoint folds of the pairs.
    """
    from embedstore.engine.requests import BridgeRequest

    with shell.opened() as store:
        card = store.fit_bridge(BridgeRequest(**options))

    def text() -> Iterator[Renderable]:
        yield f"Bridge '{card.name}' ({card.kind}): {card.anchors} pairs of {card.anchor_patients} patients."
        yield f"On patients it was not learned from: {quality_words(card.quality)}"

    shell.answer(asdict(card), text)


@bridge.command("list")
@store_options
@click.pass_obj
def list_(shell: Shell) -> None:
    """The store's bridges with their held-out quality."""
    from embedstore.cli.output import table

    with shell.opened() as store:
        cards = store.bridges()

    def text() -> Iterator[Renderable]:
        if not cards:
            yield "No bridge yet: 'embedstore bridge fit' learns one from image-report pairs."
            return
        yield table(
            ("bridge", "kind", "pairs", "patients", "held-out R@10", "chance", "shuffled", "created"),
            [_row(card) for card in cards],
        )

    shell.answer({"bridges": [asdict(card) for card in cards]}, text)


def quality_words(quality: Mapping[str, Any]) -> str:
    """A bridge's recall on held-out patients beside chance and the shuffled-pair control."""
    pool = quality.get("pool")
    among = f" of {float(pool):.0f}" if isinstance(pool, int | float) else ""
    words = (
        f"a report finds its image among the first 10{among} in {_recall(quality)} of cases; chance "
        f"{_number(quality.get('chance'))}, shuffled pairs {_number(quality.get('shuffled_control'))} "
        f"({quality.get('n_pairs')} pairs, {quality.get('n_patients')} patients)"
    )
    notes = [quality["note"]] if quality.get("note") else []
    if _is_no_better_than_chance(quality):
        notes.insert(0, "It cannot be told from chance: more pairs are needed.")
    return " ".join((f"{words}.", *notes))


def _is_no_better_than_chance(quality: Mapping[str, Any]) -> bool:
    low, chance = (quality.get("interval") or (None,))[0], quality.get("chance")
    if low is None:  # all patients alike, all missed for example
        low = quality.get("r_at_10")
    return isinstance(low, int | float) and isinstance(chance, int | float) and low <= chance


def _row(card: BridgeCard) -> tuple[Any, ...]:
    quality = card.quality
    return (
        card.name,
        card.kind,
        card.anchors,
        card.anchor_patients,
        _recall(quality),
        _number(quality.get("chance")),
        _number(quality.get("shuffled_control")),
        card.created[:16],
    )


def _recall(quality: Mapping[str, Any]) -> str:
    interval = quality.get("interval") or (None, None)
    if quality.get("r_at_10") is None:
        return "unmeasured"
    text = _number(quality["r_at_10"])
    return f"{text} [{_number(interval[0])}, {_number(interval[1])}]" if interval[0] is not None else text


def _number(value: Any) -> str:
    return f"{float(value):.3f}" if isinstance(value, int | float) else "unknown"
