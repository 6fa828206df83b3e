"""`embedstore head fit | evaluate | apply | list`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.compare import compare_heads
from embedstore.cli.head_evaluate import evaluate
from embedstore.cli.lazy import PlainGroup
from embedstore.cli.shell import Shell, encoder_option, input_file, store_options, where_option

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.requests import HeadCard


@click.group(cls=PlainGroup)
def head() -> None:
    """Linear heads on stored vectors, split by patient or by site, and bound to their space."""


@head.command()
@click.option(
    "--target", required=True, metavar="COLUMN", help="A column, attr.NAME, or label:SET for fused labels."
)
@click.option("--name", help="Name of the head; made from the target when left out.")
@click.option("--labels", type=input_file(), metavar="CSV", help="Labels (path or id, label) from a file.")
@where_option("Which images take part.")
@click.option("--test-where", metavar="EXPR", help="Images held out by a rule, such as \"site = 'B'\".")
@click.option(
    "--test-fraction",
    metavar="SHARE",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the patients held out when there is no --test-where.",
)
@encoder_option("Whose vectors; the store's own by default.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of split and fit.")
@store_options
@click.pass_obj
def fit(shell: Shell, /, **options: Any) -> None:
    """Fit a logistic regression; its C is chosen inside the training patients."""
    from embedstore.engine.requests import HeadRequest

    with shell.opened() as store:
        card = store.fit_head(HeadRequest(**options))

    def text() -> Iterator[Renderable]:
        yield from _card_lines(card)
        yield f"Next: embedstore head evaluate {card.name}"

    shell.answer(asdict(card), text)


head.add_command(evaluate)
head.add_command(compare_heads)


@head.command()
@click.argument("name")
@where_option("Which images.")
@encoder_option("Refuse unless these are the vectors the head was fitted on.")
@store_options
@click.pass_obj
def apply(shell: Shell, name: str, where: str | None, encoder: str | None) -> None:
    """Write the head's predictions for stored images to the database."""
    with shell.opened() as store:
        written = store.apply_head(name, where, encoder)

    def text() -> Iterator[Renderable]:
        yield f"{written} predictions of head '{name}' written."

    shell.answer({"head": name, "filter": where, "predictions": written}, text)


@head.command("list")
@store_options
@click.pass_obj
def list_(shell: Shell) -> None:
    """The store's heads."""
    from embedstore.cli.output import table

    with shell.opened() as store:
        cards = store.heads()

    def text() -> Iterator[Renderable]:
        if not cards:
            yield "No head yet: 'embedstore head fit --target COLUMN' fits one."
            return
        yield table(
            ("head", "target", "classes", "encoder", "space", "created"),
            [
                (c.name, c.target, ", ".join(c.classes), c.encoder, c.space[:12], c.created[:16])
                for c in cards
            ],
            widest="classes",
        )

    shell.answer({"heads": [asdict(card) for card in cards]}, text)


def _card_lines(card: HeadCard) -> Iterator[Renderable]:
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
