"""The story's chapter on linear heads: fitted at site A, tested at site B."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from embedstore.demo.anatomy import FINDINGS
from embedstore.demo.stage import SITE_B, Films, Stage
from embedstore.engine.evaluation_records import EvaluationDocument
from embedstore.engine.head_requests import HeadRequest
from embedstore.evaluation.intervals import Estimate, bootstrap
from embedstore.evaluation.metrics import auroc
from embedstore.pages.evaluation_pictures import reliability_of
from embedstore.pages.measured import MEASURED, Found, interval, measured, resting_on
from embedstore.pages.records import Forest, ForestRow, Section, Series, Table

_FILMS = "site in ('A', 'B')"
_DECIDING = {
    "balanced_accuracy": "balanced accuracy",
    "average_precision": "average precision",
    "brier": "Brier",
    "ece": "calibration error",
}
Reports = Mapping[str, EvaluationDocument]


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
        name: bootstrap("auroc", auroc, films.truth[name][at_b], films.grey[name][at_b], films.patients[at_b])
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
        reliabilities=tuple(
            replace(reliability_of(report.findings[0]), title=name) for name, report in reports.items()
        ),
        tables=_tables(reports, baseline),
        notes=(
            "The order carries over to the other scanner better than the probabilities do: before use "
            "there, a head wants calibration on films of that site.",
        ),
    )


def _forest(reports: Reports, baseline: Mapping[str, Estimate]) -> Forest:
    rows = []
    for name, report in reports.items():
        told: list[tuple[str, Series, Found]] = [
            ("head", "encoder", report.metrics["auroc"]),
            ("pixel baseline", "baseline", baseline[name]),
        ]
        if report.shuffled:
            told.append(("shuffled labels", "control", report.shuffled))
        rows += [
            ForestRow(group=name, label=label, series=series, interval=interval(found))
            for label, series, found in told
        ]
    return Forest(
        title="AUROC at site B with 95 % interval",
        axis="AUROC",
        rows=tuple(rows),
        note=f"{resting_on(list(baseline.items()))}; of shuffled labels, over the shuffles",
    )


def _tables(reports: Reports, baseline: Mapping[str, Estimate]) -> tuple[Table, ...]:
    ranking, shuffled, deciding = [], [], []
    for name, report in reports.items():
        ranking.append(measured(f"{name}, head", report.metrics["auroc"]))
        ranking.append(measured(f"{name}, pixel baseline", baseline[name]))
        shuffled += [measured(name, report.shuffled)] if report.shuffled else []
        deciding += [measured(f"{name}: {words}", report.metrics[key]) for key, words in _DECIDING.items()]
    columns = ("finding", *MEASURED)
    return (
        Table(columns=columns, rows=tuple(ranking), caption="AUROC: fitted at site A, tested at site B"),
        Table(
            columns=columns,
            rows=tuple(shuffled),
            caption="AUROC of the same fits to shuffled labels (interval over the shuffles)",
        ),
        Table(columns=columns, rows=tuple(deciding), caption="The heads' probabilities at site B"),
    )
