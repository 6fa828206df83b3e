"""`embedstore head fit | evaluate | apply | list`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.compare import compare_heads
from embedstore.cli.head_evaluate import evaluate
from embedstore.cli.head_text import card_lines
from embedstore.cli.lazy import PlainGroup
from embedstore.cli.shell import Shell, encoder_option, input_file, store_options, where_option

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable


@click.group(cls=PlainGroup)
def head() -> None:
    """Linear heads on stored vectors, split by patient or by site, and bound to their space."""


@head.command()
@click.option(
    "--target",
    "targets",
    required=True,
    multiple=True,
    metavar="COLUMN",
    help="A column, attr.NAME, or label:SET for fused labels; several columns: findings, each yes or no.",
)
@click.option(
    "--kind",
    metavar="KIND",
    default="logistic",
    show_default=True,
    help="See docs/concepts/labels-and-heads.md.",
)
@click.option("--name", help="Name of the head; made from the target when left out.")
@click.option("--labels", type=input_file(), metavar="CSV", help="Labels (path or id, label) from a file.")
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    metavar="YAML",
    help="Phrases per class, or the name of a shipped set: tip-adapter, lp++.",
)
@click.option("--bridge", metavar="NAME", help="Over which images meet those phrases; the newest by default.")
@click.option("--healthy", metavar="VALUE", help="The target's normal value: anomaly-knn, mahalanobis.")
@click.option(
    "--bag",
    type=click.Choice(["path", "series", "study", "patient"]),
    help="What the images are parts of (path: a slide or volume): bag-mean, bag-attention.",
)
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
@click.option(
    "--long-tail",
    type=click.Choice(["none", "balanced", "adjusted"]),
    default="none",
    show_default=True,
    help="For rare classes: weigh rows so that classes weigh alike, or adjust the logits by their shares.",
)
@click.option("--soft", is_flag=True, help="Learn from the probabilities of fused labels (label:SET).")
@click.option("--truth", metavar="COLUMN", help="Gold labels that a head on fused labels is judged by.")
@click.option(
    "--uncertainty",
    type=click.Choice(["none", "laplace", "ensemble"]),
    default="none",
    show_default=True,
    help="Tell what more data would resolve (epistemic) from what it would not.",
)
@click.option(
    "--conformal",
    type=click.Choice(["lac", "aps", "raps"]),
    help="Sets of classes that hold the true one; a share of the training patients calibrates them.",
)
@click.option(
    "--alpha",
    metavar="SHARE",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of images whose set may lack the true class.",
)
@click.option(
    "--conformal-by",
    type=click.Choice(["none", "class", "site"]),
    default="none",
    show_default=True,
    help="Promise it for each class, or for each site.",
)
@store_options
@click.pass_obj
def fit(shell: Shell, /, targets: tuple[str, ...], **options: Any) -> None:
    """Fit a head; what it must choose is chosen inside the training patients."""
    from embedstore.engine.head_requests import Conformal, HeadRequest

    method, alpha, by = (options.pop(name) for name in ("conformal", "alpha", "conformal_by"))
    sets = Conformal(method=method, alpha=alpha, by=by) if method else None
    with shell.opened() as store:
        card = store.fit_head(HeadRequest(target=targets[0], also=targets[1:], conformal=sets, **options))

    def text() -> Iterator[Renderable]:
        yield from card_lines(card)
        yield f"Next: embedstore head evaluate {card.name}"

    shell.answer(asdict(card), text)


head.add_command(evaluate)
head.add_command(compare_heads)


@head.command()
@click.argument("name")
@where_option("Which images.")
@encoder_option("Refuse unless these are the vectors the head was fitted on.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CSV",
    help="Also write them to a table, with parts of the uncertainty and sets where the head has them.",
)
@store_options
@click.pass_obj
def apply(shell: Shell, name: str, where: str | None, encoder: str | None, out: Path | None) -> None:
    """Write the head's predictions for stored images to the database."""
    with shell.opened() as store:
        written = store.apply_head(name, where, encoder, out)

    def text() -> Iterator[Renderable]:
        yield f"{written} predictions of head '{name}' written{f' ({out})' if out else ''}."

    answer = {"head": name, "filter": where, "predictions": written}
    shell.answer(answer | ({"out": str(out)} if out else {}), text)


@head.command()
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="JSON and safetensors.")
@click.option("--onnx", type=click.Path(path_type=Path, dir_okay=False), help="An ONNX graph.")
@click.option(
    "--sklearn", type=click.Path(path_type=Path, dir_okay=False), help="A scikit-learn pipeline (skops)."
)
@store_options
@click.pass_obj
def export(shell: Shell, /, name: str, **ways: Path | None) -> None:
    """Write a head for other programs; none of the forms can run code."""
    with shell.opened() as store:
        written = [str(path) for path in store.export_head(name, **ways)]

    def text() -> Iterator[Renderable]:
        yield f"Head '{name}' written: {', '.join(written)}."

    shell.answer({"head": name, "written": written}, text)


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
