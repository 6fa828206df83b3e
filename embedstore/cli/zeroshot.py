"""`embedstore zeroshot`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.shell import Shell, encoder_option, store_options, where_option

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.requests import ZeroShotResult, ZeroShotRow

_SHOWN = 20
_BEST = 5


@click.command()
@click.option(
    "--classes",
    required=True,
    type=click.Path(path_type=Path),
    metavar="YAML",
    help="Classes and their prompts; 'chest' is an example that comes with embedstore.",
)
@where_option("Which images are scored.")
@click.option(
    "--truth",
    metavar="COLUMN",
    help="Column of the true class; for findings each has its own, attr.NAME of the finding by default.",
)
@click.option(
    "--calibrate-where",
    metavar="EXPR",
    help="Images with a truth to calibrate on; their patients are not scored.",
)
@click.option(
    "--threshold", type=float, metavar="T", help="No label below this probability (score, if uncalibrated)."
)
@click.option("--save", is_flag=True, help="Write the labels as votes.")
@encoder_option("Whose image space; the store's own by default.")
@click.option("--bridge", metavar="NAME", help="Bridge between text and images; the newest by default.")
@click.option(
    "--exclude-anchors",
    is_flag=True,
    help="Leave out the patients the bridge was learned from instead of refusing.",
)
@click.option("--sensitivity", is_flag=True, help="Show how the answers move when each phrase stands alone.")
@store_options
@click.pass_obj
def zeroshot(shell: Shell, /, classes: Path, **options: Any) -> None:
    """Label images by prompts, without training.

    Scores rank the images. Probabilities, and labels by them, need labelled examples: --calibrate-where.
    """
    from embedstore.engine.requests import ZeroShotRequest

    with shell.opened() as store:
        result = store.zeroshot(ZeroShotRequest(classes=_prompts(classes), **options))
    shell.answer(asdict(result), lambda: _text(result))


def _prompts(named: Path) -> Path:
    """The file, or the shipped example of that name."""
    from embedstore.learning.prompts import SHIPPED

    shipped = SHIPPED / f"{named}.yaml"
    return shipped if not named.exists() and named.name == str(named) and shipped.exists() else named


def _text(result: ZeroShotResult) -> Iterator[Renderable]:
    from embedstore.cli.output import estimate, table
    from embedstore.cli.search import bridge_sentence

    labelled = sum(row.label is not None for row in result.rows)
    yield f"{len(result.rows)} images scored for {', '.join(result.classes)}; {labelled} labelled."
    if not result.calibrated:
        yield "Uncalibrated: the scores are for ranking only, they are not probabilities (--calibrate-where)."
        if labelled:
            yield "The labels are a threshold on uncalibrated scores: they may be no better than chance."
    if result.bridge is not None:
        yield bridge_sentence(result.bridge)
    if result.calibrated or labelled:
        yield table(
            ("id", "path", *result.classes, "label" if result.calibrated else "label (uncalibrated)"),
            [_row(row, result) for row in result.rows[:_SHOWN]],
            widest="path",
        )
        if len(result.rows) > _SHOWN:
            yield f"and {len(result.rows) - _SHOWN} more; --json prints all of them"
    else:
        yield table(("class", "rank", "score", "id", "path"), list(_ranking(result)), widest="path")
    if result.metrics:
        yield metrics_table(result.metrics)
    for name, found in result.abstention.items():
        yield table(
            ("coverage", "keep at least", "risk", "images", "patients"),
            [
                (
                    p["coverage"],
                    p["threshold"],
                    estimate(p["risk"]),
                    p["risk"]["n_images"],
                    p["risk"]["n_patients"],
                )
                for p in found["points"]
            ],
            title=f"Errors among the surest, {name}",
        )
    if result.sensitivity:
        yield table(
            ("label", "phrase alone", "rank corr.", "flipped", "AUROC"),
            [
                (one["label"], one["text"], one["spearman"], one["flipped"], estimate(one["auroc"]))
                for one in result.sensitivity
            ],
            widest="phrase alone",
        )
    if result.calibration is not None:
        yield from (f"Note: {note}." for note in result.calibration["notes"])
    if result.saved_votes:
        yield f"{result.saved_votes} votes saved."


def _ranking(result: ZeroShotResult) -> Iterator[tuple[Any, ...]]:
    for name in result.classes:
        best = sorted(result.rows, key=lambda row: -row.scores[name])[:_BEST]
        yield from ((name, rank, row.scores[name], row.id, row.path) for rank, row in enumerate(best, 1))


def _row(row: ZeroShotRow, result: ZeroShotResult) -> tuple[Any, ...]:
    values = row.probabilities if row.probabilities is not None else row.scores
    numbers = (values.get(name) for name in result.classes)
    return (row.id, row.path, *numbers, _label(row))


def _label(row: ZeroShotRow) -> str:
    if row.label is None:
        return f"({row.reason})"
    return row.label or "none"


def metrics_table(metrics: Mapping[str, Any]) -> Renderable:
    """One row per class, each metric with its interval."""
    from embedstore.cli.output import estimate, table

    names = list(dict.fromkeys(name for one in metrics.values() for name in one))
    rows = [
        (label, *(estimate(one.get(name)) for name in names), *_counts(one)) for label, one in metrics.items()
    ]
    return table(("class", *(name.replace("_", " ") for name in names), "images", "patients"), rows)


def _counts(estimates: Mapping[str, Any]) -> tuple[Any, Any]:
    first: Mapping[str, Any] = next(iter(estimates.values()), {})
    return first.get("n_images"), first.get("n_patients")
