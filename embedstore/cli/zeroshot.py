"""`embedstore zeroshot`."""

from __future__ import annotations

import math
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
    "--threshold", type=float, metavar="T", help="No label below this probability; needs --calibrate-where."
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
        result = store.zeroshot(ZeroShotRequest(classes=classes, **options))
    shell.answer(asdict(result), lambda: _text(result, options["threshold"] is not None))


def _text(result: ZeroShotResult, unheeded: bool) -> Iterator[Renderable]:
    from embedstore.cli.output import estimate, table
    from embedstore.cli.search import bridge_sentence

    labelled = sum(row.label is not None for row in result.rows)
    yield f"{len(result.rows)} images scored for {', '.join(result.classes)}; {labelled} labelled."
    if not result.calibrated:
        yield _uncalibrated(result)
        if unheeded:
            yield "There is no label: a threshold is on probabilities; it takes images to calibrate on."
    if result.bridge is not None:
        yield bridge_sentence(result.bridge)
    yield _answers(result) if result.calibrated else _ranking(result)
    if result.calibrated and len(result.rows) > _SHOWN:
        yield f"and {len(result.rows) - _SHOWN} more; --json prints all of them"
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
            ("label", "side", "phrase alone", "rank corr.", "flipped", "AUROC"),
            [
                (
                    one["label"],
                    one["role"],
                    one["text"],
                    one["spearman"],
                    one["flipped"],
                    estimate(one["auroc"]),
                )
                for one in result.sensitivity
            ],
            widest="phrase alone",
        )
    if result.calibration is not None:
        yield from (f"Note: {note}." for note in result.calibration["notes"])
    if result.saved_votes:
        yield f"{result.saved_votes} votes saved."


def _uncalibrated(result: ZeroShotResult) -> str:
    said = "the scores are for ranking only, they are not probabilities"
    if result.calibration is not None:
        return f"Not calibrated, nothing is labelled: {said}. The notes below say why."
    return f"Uncalibrated: {said} (--calibrate-where)."


def _ranking(result: ZeroShotResult) -> Renderable:
    """The likeliest images of each class, or of each finding being present."""
    from embedstore.cli.output import table

    rows = []
    for name in result.classes:
        best = sorted(result.rows, key=lambda row: -row.scores[name])[:_BEST]
        rows += [(name, rank, row.scores[name], row.id, row.path) for rank, row in enumerate(best, 1)]
    columns = ("rank", "score", "id", "path")
    if not _are_findings(result):
        return table(("class", *columns), rows, widest="path")
    title = "Likeliest present first (score: likeness to 'present' less likeness to 'absent')"
    return table(("finding", *columns), rows, widest="path", title=title)


def _are_findings(result: ZeroShotResult) -> bool:
    return any(row.findings for row in result.rows)


def _answers(result: ZeroShotResult) -> Renderable:
    """Probabilities with what is said by them: of each finding present or absent, else the class."""
    from embedstore.cli.output import table

    shown = result.rows[:_SHOWN]
    if _are_findings(result):
        rows = [(row.id, row.path, *(_verdict(row, name) for name in result.classes)) for row in shown]
        title = "Probability that the finding is present, and what is said"
        return table(("id", "path", *result.classes), rows, widest="path", title=title)
    told = [
        (row.id, row.path, *((row.probabilities or {}).get(name) for name in result.classes), _label(row))
        for row in shown
    ]
    return table(
        ("id", "path", *result.classes, "label"), told, widest="path", title="Probability of each class"
    )


def _verdict(row: ZeroShotRow, finding: str) -> str:
    p = (row.probabilities or {}).get(finding, math.nan)
    return "uncalibrated" if math.isnan(p) else f"{p:.3f} {row.findings[finding] or 'unsure'}"


def _label(row: ZeroShotRow) -> str:
    return f"({row.reason})" if row.label is None else row.label


def metrics_table(metrics: Mapping[str, Any]) -> Renderable:
    """One row per class, each metric with its interval."""
    from embedstore.cli.output import estimate, table

    names = list(dict.fromkeys(name for one in metrics.values() for name in one))
    rows = [
        (label, *(estimate(one.get(name)) for name in names), *_counts(one)) for label, one in metrics.items()
    ]
    headings = (name.replace("_", " ") for name in names)
    return table(("class", *headings, "images", "patients", "positives"), rows)


def _counts(estimates: Mapping[str, Any]) -> tuple[Any, ...]:
    first: Mapping[str, Any] = next(iter(estimates.values()), {})
    return first.get("n_images"), first.get("n_patients"), first.get("n_positives")
