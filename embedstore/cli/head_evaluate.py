"""`embedstore head evaluate`: the terminal's summary of the evaluation document, and its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.compare import looked, without_copies
from embedstore.cli.head_text import control_line, part_lines, set_lines
from embedstore.cli.shell import Shell, store_options, where_option

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.evaluation_records import EvaluationDocument

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.argument("name")
@where_option("Only these of the held-out images.")
@click.option(
    "--by",
    metavar="COLUMN",
    multiple=True,
    default=("sex", "age", "vendor", "site", "view"),
    show_default=True,
    help="Subgroups and shortcuts by this column; may be given several times.",
)
@click.option(
    "--prevalence",
    metavar="SHARE",
    type=_SHARE,
    help="Of the finding where the head will be used: for predictive values and the decision curve.",
)
@click.option(
    "--threshold", metavar="P", type=_SHARE, help="One more probability from which the answer is yes."
)
@click.option(
    "--assume-independent",
    is_flag=True,
    help="Vouch that images without a patient identifier are of different patients.",
)
@without_copies
@click.option("--html", type=click.Path(path_type=Path), metavar="OUT", help="Write the document as a page.")
@click.option("--markdown", type=click.Path(path_type=Path), metavar="OUT", help="Write it as Markdown.")
@store_options
@click.pass_obj
def evaluate(
    shell: Shell, /, name: str, where: str | None, html: Path | None, markdown: Path | None, **options: Any
) -> None:
    """Measure a head on patients it was not fitted on, with 95 % intervals by patient.

    Refused when a patient, a picture or a near-duplicate stands on both sides. Each look at held-out images
    is counted in the store.
    """
    with shell.opened() as store, shell.progress() as bar:
        document = store.evaluate_head(name, where, bar, **options)
    if html is not None or markdown is not None:
        from embedstore.pages.evaluation_page import evaluation_markdown, evaluation_page

        if html is not None:
            html.write_text(evaluation_page(document), encoding="utf-8")
        if markdown is not None:
            markdown.write_text(evaluation_markdown(document), encoding="utf-8")
    written = [one for one in (html, markdown) if one is not None]
    shell.answer(document.to_json(), lambda: _report(document, written))


def _report(document: EvaluationDocument, written: list[Path]) -> Iterator[Renderable]:
    from embedstore.cli.output import estimate, table

    counts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in document.counts.items())
    yield f"Head '{document.head}' on patients it was not fitted on: {counts}."
    yield from _split(document)
    yield table(
        ("metric", "value [95 % interval, by patient]"),
        [(name, estimate(one)) for name, one in document.metrics.items()],
    )
    if document.shuffled:
        yield control_line(document.shuffled)
    yield from set_lines(document.conformal)
    yield from part_lines(document.uncertainty)
    yield from _outside(document)
    yield from _shortcut(document)
    filled = [row for row in document.reliability if row.get("n")]
    if filled:
        columns = ("low", "high", "n", "mean_predicted", "observed")
        yield table(
            tuple(name.replace("_", " ") for name in columns),
            [tuple(row.get(name) for name in columns) for row in filled],
            title="Calibration: predicted against observed",
        )
    yield from (f"Note: {note}" for note in document.notes)
    yield from (f"Written: {path}" for path in written)
    if not written:
        yield "Curves, subgroups, thresholds and checklists: --html OUT, --markdown OUT or --json."


def _split(document: EvaluationDocument) -> Iterator[str]:
    split, unsealed = document.disjointness, document.unsealed
    patients = "Patient-disjoint" if split["patient_disjoint"] else "Not known to be patient-disjoint"
    sites = {True: "sites too", False: "sites are shared", None: "sites are not all known"}
    yield f"{patients}; {sites[split['site_disjoint']]}."
    yield looked(unsealed)


def _outside(document: EvaluationDocument) -> Iterator[str]:
    from embedstore.cli.output import estimate

    validation = document.validation
    if validation.internal is not None and validation.external is not None:
        yield f"Internal ({validation.internal_by}): {estimate(validation.internal.to_json())}."
        yield f"External (other sites): {estimate(validation.external.to_json())}."
    if validation.difference is not None:
        difference = validation.difference
        yield f"External minus internal: {estimate(difference.difference.to_json())}, {difference.verdict}."
    if document.smallest_detectable is not None:
        yield (
            f"Smallest difference from a fixed number that is found 8 times in 10: "
            f"{document.smallest_detectable:.3f}."
        )


def _shortcut(document: EvaluationDocument) -> Iterator[str]:
    from embedstore.cli.output import estimate

    beside = document.shortcut
    if beside.baseline is not None and beside.gain is not None:
        yield (
            f"Metadata alone ({', '.join(beside.columns)}): {estimate(beside.baseline.to_json())}; "
            f"the head is {beside.gain.verdict} ({estimate(beside.gain.difference.to_json())})."
        )
    leans = [one for view in document.findings for one in view.leaning if one.leans]
    for one in leans:
        yield (
            f"The score leans on {one.attribute}: {one.truth} the finding it tells {one.value}, AUROC "
            f"{estimate(one.auroc.to_json())}."
        )
