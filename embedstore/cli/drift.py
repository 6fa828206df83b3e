"""`embedstore drift`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.shell import Shell, encoder_option, store_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.drift_records import DriftReport

_TESTS = {
    "mmd2": "distance of the distributions (MMD^2)",
    "classifier_auroc": "a classifier tells them apart (AUROC)",
    "ks": "largest component distance (KS)",
}


@click.command()
@click.option("--reference", required=True, metavar="EXPR", help="Images a model was made with.")
@click.option("--new", required=True, metavar="EXPR", help="Images that came since, or elsewhere.")
@click.option(
    "--by",
    metavar="COLUMN",
    multiple=True,
    default=("site", "vendor"),
    show_default=True,
    help="Compare each value of this column apart; may be given several times.",
)
@click.option("--label", metavar="COLUMN", help="Gold labels: for label shift and concept shift.")
@encoder_option("Whose vectors; the store's own by default.")
@click.option(
    "--audit",
    metavar="N",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Images to draw for a person to label anew; half at random, half the strangest.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of draws and permutations.")
@store_options
@click.pass_obj
def drift(shell: Shell, /, **options: Any) -> None:
    """Tell whether new images differ from those of a model.

    Covariate shift (other images) and concept shift (the same image means something else) are reported
    apart. Patients are drawn and permuted, never images; a patient on both sides speaks for the reference.
    """
    from embedstore.engine.drift_records import DriftRequest

    with shell.opened() as store, shell.progress() as bar:
        report = store.drift(DriftRequest(**options), bar)
    shell.answer(asdict(report), lambda: _report(report))


def _report(report: DriftReport) -> Iterator[Renderable]:
    from embedstore.cli.output import table

    for name, side in (("Reference", report.reference), ("New", report.new)):
        yield f"{name}: {_people(side)}; {_people(side, 'used_')} drawn ({side['filter']})"
    yield f"Covariate shift, other images: {_yes(report.covariate)}."
    yield table(
        ("test", "value", "p, patients permuted"),
        [(_TESTS.get(t["name"], t["name"]), _value(t), t["p_value"]) for t in report.covariate["tests"]],
        widest="test",
    )
    smallest = report.covariate.get("smallest_detectable_shift")
    yield (
        "No shift of up to 8 standard deviations would be found from so few patients."
        if smallest is None
        else f"Smallest shift that is found 8 times in 10: {smallest:.2f} standard deviations along the "
        "first principal component."
    )
    if report.groups:
        yield table(
            ("by", "value", "images", "patients", "against", "p, Holm", "shifted"),
            [_group(entry) for entry in report.groups],
            widest="value",
            title="Group by group",
        )
    yield from _labels(report.label)
    yield from _concept(report.concept)
    yield from _audit(report)
    yield from (f"Note: {note}." for note in report.notes)


def _people(side: Mapping[str, Any], prefix: str = "") -> str:
    unknown = side[f"{prefix}unknown_patients"]
    text = f"{side[f'{prefix}images']} images of {side[f'{prefix}patients']} patients"
    return f"{text} ({unknown} unknown)" if unknown else text


def _yes(found: Mapping[str, Any]) -> str:
    return "found" if found["shifted"] else "none shown"


def _value(test: Mapping[str, Any]) -> str:
    return f"{test['value']:.4f} [{test['low']:.4f}, {test['high']:.4f}]"


def _group(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    told = entry.get("insufficient")
    shown = ("yes" if entry["shifted"] else "no") if told is None else "too few"
    names = ("by", "value", "images", "patients")
    against = "same" if entry["against"] == "same" else "all"
    return (*(entry[name] for name in names), against, entry.get("p_value"), shown)


def _labels(found: Mapping[str, Any] | None) -> Iterator[Renderable]:
    from embedstore.cli.output import estimate, table

    if found is None:
        return
    yield f"Label shift, other shares of the classes: {_yes(found) if found['told'] else 'cannot be told'}."
    if not found["model_knows"]:
        gain = estimate(found["gain"])
        yield (
            "The shares are not estimated: on held-out patients of the reference the model makes the classes "
            f"no more likely than their shares do (gain in log likelihood {gain})."
        )
    yield table(
        ("class", "reference", "new, estimated", "new, observed", "moved"),
        [
            (
                row["class"],
                estimate(row["reference"]),
                estimate(row["estimated"]),
                estimate(row["observed"]),
                row["moved"],
            )
            for row in found["classes"]
        ],
        widest="new, estimated",
    )


def _concept(found: Mapping[str, Any] | None) -> Iterator[Renderable]:
    from embedstore.cli.output import estimate, table

    if found is None:
        return
    verdict = _yes(found) if found["told"] else "cannot be told, the two sides share too few images"
    yield f"Concept shift, other meanings: {verdict}."
    yield table(
        ("new minus reference", "total", "by other images", "by other meanings"),
        [
            (one["measure"], *(estimate(one[part]) for part in ("total", "covariate", "concept")))
            for one in found["changes"]
        ],
        widest="new minus reference",
    )


def _audit(report: DriftReport) -> Iterator[Renderable]:
    from embedstore.cli.output import table

    found = report.outliers
    yield (
        f"Unlike the reference: {found['n_flagged']} of {found['n_images']} images (false calls among them "
        f"at most {found['fdr']:.0%}; {found['n_calibration']} reference patients behind it)."
    )
    if report.audit:
        yield table(
            ("id", "path", "drawn as", "p"),
            [(row["id"], row["path"], row["reason"], row["p_value"]) for row in report.audit],
            widest="path",
            title="To label anew",
        )
