"""The chapters of an evaluation: tables in which every number has its n, interval and method; pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedstore.engine.evaluation_records import EvaluationDocument, FindingView
from embedstore.evaluation.comparison import Comparison
from embedstore.evaluation.intervals import Estimate
from embedstore.pages.evaluation_pictures import finding_plots, reliability_of
from embedstore.pages.measured import MEASURED, measured, shown
from embedstore.pages.records import Row, Section, Table


def facts_of(document: EvaluationDocument) -> tuple[tuple[str, str], ...]:
    """The large numbers at the head of the page."""
    name, first = next(iter(document.metrics.items()))
    counts = document.counts
    return (
        (str(shown(first)), f"{name}, {document.tested['role']}"),
        (str(counts["images"]), "test images"),
        (str(counts["patients"]), f"test patients, {counts['unknown_patients']} of them unknown"),
        (str(counts["positives"]), "positives"),
        (str(document.unsealed["times"]), "times unsealed"),
    )


def chapters(document: EvaluationDocument) -> tuple[Section, ...]:
    """In the order a reviewer asks."""
    return (
        _people(document),
        _performance(document),
        *(_finding(view, document) for view in document.findings),
        _subgroups(document),
        _shortcuts(document),
        _checklist(document),
    )


def _people(document: EvaluationDocument) -> Section:
    trained, tested, split = document.trained, document.tested, document.disjointness
    unsealed = document.unsealed
    recipe = ", ".join(f"{name} {value}" for name, value in trained["recipe"].items() if value is not None)
    rows: tuple[Row, ...] = (
        ("images", trained["images"], tested["images"]),
        ("patients", trained["patients"], tested["patients"]),
        ("of them without an identifier", split["unknown_train_patients"], split["unknown_test_patients"]),
        ("images per class", _counts(trained["per_class"]), _counts(tested["per_class"])),
        ("images per site", _counts(trained["sites"]), _counts(tested["sites"])),
    )
    facts: tuple[Row, ...] = (
        ("encoder", f"{trained['encoder']} {trained['encoder_version'] or ''}, {trained['licence'] or '?'}"),
        ("space", trained["space"]),
        ("recipe", recipe),
        ("labels", trained["labels_from"]),
        ("left out", _counts(trained["left_out"])),
        ("training data, digest", trained["data_sha256"]),
        ("split", _counts({k: v for k, v in document.split.items() if v is not None})),
        (
            "patient-disjoint",
            _said(split["patient_disjoint"] or None) + (" (assumed)" if split["assumed_independent"] else ""),
        ),
        ("site-disjoint", _said(split["site_disjoint"])),
        ("near-duplicates across the split", _copies(split)),
        (
            "unsealed",
            f"{unsealed['times']} in all since {unsealed['first'][:10]}, by: {', '.join(unsealed['heads'])}",
        ),
    )
    return Section(
        title="Who was trained on, who was tested",
        tables=(
            Table(columns=("", "training", "test"), rows=rows),
            Table(columns=("", "what is recorded"), rows=facts),
        ),
        notes=tuple(document.notes),
    )


def _performance(document: EvaluationDocument) -> Section:
    validation = document.validation
    rows: list[Row] = []
    for name, found in (("internal", validation.internal), ("external", validation.external)):
        if found is not None:
            by = f", {validation.internal_by}" if name == "internal" else ", other sites"
            rows.append(measured(f"{found.metric}, {name}{by}", found))
    if validation.difference is not None:
        rows.append(measured(*_compared("external minus internal", validation.difference)))
    every = [measured(name, found) for name, found in document.metrics.items()]
    if document.shuffled:
        every.append(measured(f"{document.shuffled['metric']}, shuffled labels", document.shuffled))
    least = document.smallest_detectable
    notes = () if least is None else (
        f"Smallest detectable difference: these patients show a true difference of {least:.3f} from a fixed "
        "number 8 times in 10.",
    )  # fmt: skip
    return Section(
        title="Inside and outside",
        tables=(
            Table(columns=("", *MEASURED), rows=tuple(rows), caption="Internal and external validation"),
            Table(columns=("metric", *MEASURED), rows=tuple(every), caption="All on the test images"),
        ),
        notes=notes,
    )


def _compared(name: str, found: Comparison) -> tuple[str, Estimate]:
    return f"{name}: {found.verdict}", found.difference


def _finding(view: FindingView, document: EvaluationDocument) -> Section:
    points = tuple(
        measured(f"{_short(found.metric)} at {one.point.threshold:.3f} ({one.chosen})", found)
        for one in view.thresholds
        for found in (one.point.sensitivity, one.point.specificity, one.point.ppv, one.point.npv)
    )
    share = view.thresholds[0].point.prevalence if view.thresholds else None
    said = "" if share is None else f"Predictive values at a prevalence of {share:.1%}"
    own = "; the test images' own" if document.tested["prevalence"] is None else ""
    return Section(
        title=f"{view.name} against the rest" if len(document.classes) > 2 else f"Finding {view.name}",
        plots=finding_plots(view),
        reliabilities=(reliability_of(view),),
        tables=(Table(columns=("threshold", *MEASURED), rows=points, caption=said + own),) if points else (),
    )


def _short(metric: str) -> str:
    return metric.upper() if metric in ("ppv", "npv") else metric


def _subgroups(document: EvaluationDocument) -> Section:
    several = len(document.findings) > 1
    rows: list[Row] = []
    for view in document.findings:
        for group in view.subgroups:
            name = f"{view.name}; " if several else ""
            name += f"{group.attribute} {group.value}"
            if group.insufficient:
                counts = (group.n_images, group.n_patients, group.n_positives)
                rows.append((name, group.insufficient, *counts, ""))
            rows += [measured(f"{name}: {one.metric}", one) for one in group.estimates]
    return Section(
        title="Subgroups",
        lead="No number from fewer than 20 images with the finding, or without it.",
        tables=(Table(columns=("subgroup", *MEASURED), rows=tuple(rows)),) if rows else (),
    )


def _shortcuts(document: EvaluationDocument) -> Section:
    beside = document.shortcut
    tables = []
    name, first = next(iter(document.metrics.items()))
    if beside.baseline is not None and beside.gain is not None:
        rows = (
            measured(f"{name}, head", first),
            measured(f"{name}, metadata alone ({', '.join(beside.columns)})", beside.baseline),
            measured(*_compared("head minus metadata alone", beside.gain)),
        )
        tables.append(Table(columns=("", *MEASURED), rows=rows, caption="A model that sees no pixel"))
    if beside.encoded:
        told = tuple(measured(one.metric, one) for one in beside.encoded)
        caption = "What the vectors tell of metadata (a model on them, patients apart)"
        tables.append(Table(columns=("", *MEASURED), rows=told, caption=caption))
    leans = tuple(
        measured(f"{view.name}: {one.attribute} {one.value}, {one.truth} it: {_leans(one.leans)}", one.auroc)
        for view in document.findings
        for one in view.leaning
    )
    if leans:
        caption = "How well the head's score tells metadata among images of one truth (AUROC)"
        tables.append(Table(columns=("", *MEASURED), rows=leans, caption=caption))
    lead = "Does it see the finding, or who was filmed where?"
    return Section(title="Shortcuts", lead=lead, tables=tuple(tables))


def _checklist(document: EvaluationDocument) -> Section:
    columns = ("item", "topic", "status", "what the record says")
    guidelines = dict.fromkeys(row.guideline for row in document.checklist)
    tables = []
    for guideline in guidelines:
        own = [row for row in document.checklist if row.guideline == guideline]
        filled = sum(row.status == "filled" for row in own)
        rows = tuple((row.item, row.topic, row.status, row.answer) for row in own)
        caption = f"{guideline}: {filled} of {len(own)} items filled"
        tables.append(Table(columns=columns, rows=rows, caption=caption))
    lead = "What this record answers, and what only its author can. Topics in our words; read the guidelines."
    return Section(title="Reporting checklists", lead=lead, tables=tuple(tables))


def _leans(yes: bool) -> str:
    return "leans" if yes else "not shown to lean"


def _said(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "not known"}[value]


def _copies(split: Mapping[str, Any]) -> str:
    if not split["copies_looked_for"]:
        return "not looked for"
    text = f"none; {split['pictures_compared']} pairs of like pictures compared"
    if split["pictures_not_readable"]:
        text += f", {split['pictures_not_readable']} not readable"
    return text + (
        f"; {split['copies_left_out']} test images left out as copies" if split["copies_left_out"] else ""
    )


def _counts(counts: Mapping[str, Any] | Sequence[Any]) -> str:
    pairs = counts.items() if isinstance(counts, Mapping) else ()
    return ", ".join(f"{name or 'not recorded'} {value}" for name, value in pairs) or "none"
