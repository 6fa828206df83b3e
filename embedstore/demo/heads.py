"""The story's chapter on linear heads: fitted at site A, tested at site B."""

from __future__ import annotations

from collections.abc import Mapping

from embedstore.demo.anatomy import FINDINGS
from embedstore.demo.stage import SITE_B, Films, Stage, interval
from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.requests import HeadReport
from embedstore.evaluation.intervals import bootstrap
from embedstore.evaluation.metrics import auroc
from embedstore.pages.records import Bin, Forest, ForestRow, Interval, Reliability, Row, Section, Table

_FILMS = "site in ('A', 'B')"


def linear_heads(stage: Stage, films: Films) -> Section:
    """A logistic regression per finding on stored vectors; pixel baseline and shuffled labels beside it."""
    reports = {}
    for done, finding in enumerate(FINDINGS):
        stage.progress("linear heads", done, len(FINDINGS))
        card = stage.store.fit_head(HeadRequest(target=f"attr.{finding}", where=_FILMS, test_where=SITE_B))
        reports[finding] = stage.store.evaluate_head(card.name)
        stage.store.apply_head(card.name, SITE_B)
    at_b = films.rows("B")
    baseline = {
        name: interval(
            bootstrap("auroc", auroc, films.truth[name][at_b], films.grey[name][at_b], films.patients[at_b])
        )
        for name in FINDINGS
    }
    any_report = next(iter(reports.values()))
    return Section(
        title="Linear heads, from one site to the other",
        lead=(
            "A logistic regression per finding on the stored vectors, fitted to the true labels of site "
            "A (its strength chosen among the patients of site A), tested on site B: another scanner, "
            f"other patients, {any_report.counts['images']} films of {any_report.counts['patients']} "
            "patients."
        ),
        command=(
            f'embedstore head fit --target attr.effusion --where "{_FILMS}" --test-where "{SITE_B}" && '
            "embedstore head evaluate effusion-1"
        ),
        forests=(_forest(reports, baseline),),
        reliabilities=tuple(_reliability(name, report) for name, report in reports.items()),
        tables=_tables(reports, baseline),
        notes=(
            "The order carries over to the other scanner better than the probabilities do: before use "
            "there, a head wants calibration on films of that site.",
        ),
    )


def _forest(reports: Mapping[str, HeadReport], baseline: dict[str, Interval]) -> Forest:
    rows = []
    for name, report in reports.items():
        ours, shuffled = interval(report.metrics["auroc"]), interval(report.shuffled)
        rows.append(ForestRow(group=name, label="head", series="encoder", interval=ours))
        rows.append(ForestRow(group=name, label="pixel baseline", series="baseline", interval=baseline[name]))
        rows.append(ForestRow(group=name, label="shuffled labels", series="control", interval=shuffled))
    return Forest(title="AUROC at site B with 95 % interval", axis="AUROC", rows=tuple(rows))


def _reliability(name: str, report: HeadReport) -> Reliability:
    bins = tuple(
        Bin(predicted=float(row["mean_predicted"]), observed=float(row["observed"]), images=int(row["n"]))
        for row in report.reliability
        if row["n"]
    )
    return Reliability(title=name, bins=bins, note=f"Brier {interval(report.metrics['brier'])}")


def _tables(reports: Mapping[str, HeadReport], baseline: dict[str, Interval]) -> tuple[Table, Table]:
    ranking = tuple(
        (
            name,
            report.counts["images"],
            report.counts["patients"],
            report.counts["positives"],
            interval(report.metrics["auroc"]),
            baseline[name],
            interval(report.shuffled),
        )
        for name, report in reports.items()
    )
    keys = ("balanced_accuracy", "average_precision", "brier", "ece")
    deciding: tuple[Row, ...] = tuple(
        (name, *(interval(report.metrics[key]) for key in keys)) for name, report in reports.items()
    )
    named = (
        "finding",
        "films",
        "patients",
        "positives",
        "AUROC",
        "pixel baseline",
        "shuffled labels (interval over shuffles)",
    )
    words = ("finding", "balanced accuracy", "average precision", "Brier", "calibration error")
    return (
        Table(columns=named, rows=ranking, caption="AUROC: fitted at site A, tested at site B"),
        Table(columns=words, rows=deciding, caption="The heads' probabilities at site B"),
    )
