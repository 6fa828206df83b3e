"""CLAIM and TRIPOD+AI, item by item: what an evaluation answers itself, and what only its author can.

Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology: AI
6:e240300, 2024. Collins et al., TRIPOD+AI statement, BMJ 385:e078378, 2024. Topics are in our words. An item
is filled only where the record holds the answer; what it knows of an item that asks for more stands beside
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedstore.engine.evaluation_records import ChecklistRow

CLAIM, TRIPOD = "CLAIM 2024", "TRIPOD+AI"

#: (item, topic, which answer). An answer in brackets helps the author and does not fill the item.
_CLAIM: tuple[tuple[str, str, str], ...] = (
    ("1", "title names the AI method", "(model)"),
    ("2", "structured abstract", ""),
    ("3", "background, intended use", ""),
    ("4", "aims and hypotheses", ""),
    ("5", "prospective or retrospective", ""),
    ("6", "goal of the study", ""),
    ("7", "data sources", "(sites)"),
    ("8", "inclusion and exclusion criteria", "(filters)"),
    ("9", "preprocessing of the images", "space"),
    ("10", "selection of data subsets", "filters"),
    ("11", "de-identification", ""),
    ("12", "missing data", "missing"),
    ("13", "image acquisition protocol", ""),
    ("14", "definition of the reference standard", "(labels)"),
    ("15", "why this reference standard", ""),
    ("16", "who annotated", ""),
    ("17", "annotation of the test set", ""),
    ("18", "variability between and within raters", ""),
    ("19", "how data were assigned to partitions", "split"),
    ("20", "level at which partitions are disjoint", "disjoint"),
    ("21", "intended sample size", "(detectable)"),
    ("22", "description of the model", "model"),
    ("23", "software", "software"),
    ("24", "initial parameters of the model", "start"),
    ("25", "training", "training"),
    ("26", "how the final model was chosen", "choice"),
    ("27", "ensembling", "ensemble"),
    ("28", "metrics of performance", "metrics"),
    ("29", "statistical measures of uncertainty", "intervals"),
    ("30", "robustness and sensitivity analyses", "robustness"),
    ("31", "explainability", ""),
    ("32", "evaluation on internal data", "internal"),
    ("33", "testing on external data", "external"),
    ("34", "trial registration", ""),
    ("35", "numbers included and excluded", "numbers"),
    ("36", "characteristics of the cases in each partition", "(subgroups)"),
    ("37", "performance with uncertainty", "performance"),
    ("38", "estimates of diagnostic performance", "performance"),
    ("39", "analysis of failures", ""),
    ("40", "limitations", "(limits)"),
    ("41", "implications for practice", ""),
    ("42", "protocol, further detail", ""),
    ("43", "availability of software, model and data", "(availability)"),
    ("44", "funding", ""),
)
_TRIPOD: tuple[tuple[str, str, str], ...] = (
    ("1", "title", "(model)"),
    ("2", "abstract", ""),
    ("3a", "health care context", ""),
    ("3b", "target population, users", ""),
    ("3c", "known health inequalities", ""),
    ("4", "objectives", ""),
    ("5a", "sources of the data", "(sites)"),
    ("5b", "dates of the data", ""),
    ("6a", "setting", "(sites)"),
    ("6b", "eligibility", "(filters)"),
    ("6c", "treatments", ""),
    ("7", "preparation of the data", "space"),
    ("8a", "outcome and how it was assessed", "(labels)"),
    ("8b", "who assessed the outcome", ""),
    ("8c", "blinding of the assessment", ""),
    ("9a", "choice of predictors", "predictors"),
    ("9b", "definition of predictors", "space"),
    ("9c", "who assessed predictors", "predictors"),
    ("10", "sample size", "(detectable)"),
    ("11", "missing data", "missing"),
    ("12a", "use of the data, partition", "split"),
    ("12b", "handling of predictors", "predictors"),
    ("12c", "type of model, building, internal validation", "training"),
    ("12d", "heterogeneity between clusters", "sites"),
    ("12e", "measures of performance", "metrics"),
    ("12f", "updating of the model", "updating"),
    ("12g", "how predictions are calculated", "prediction"),
    ("13", "class imbalance", "imbalance"),
    ("14", "fairness", "subgroups"),
    ("15", "output of the model", "output"),
    ("16", "differences of training and evaluation data", "difference"),
    ("17", "ethical approval", ""),
    ("18a", "funding", ""),
    ("18b", "conflicts of interest", ""),
    ("18c", "protocol", ""),
    ("18d", "registration", ""),
    ("18e", "sharing of data", ""),
    ("18f", "sharing of code", "(availability)"),
    ("19", "patient and public involvement", ""),
    ("20a", "flow of participants", "numbers"),
    ("20b", "characteristics of participants", "(subgroups)"),
    ("20c", "comparison of development and evaluation data", "difference"),
    ("21", "numbers of participants and events", "numbers"),
    ("22", "specification of the model", "model"),
    ("23a", "performance with intervals, by subgroup", "performance"),
    ("23b", "heterogeneity of performance", "subgroups"),
    ("24", "results of updating", "updating"),
    ("25", "interpretation", ""),
    ("26", "limitations", "(limits)"),
    ("27a", "poor or unavailable input", "poor_input"),
    ("27b", "interaction of users", ""),
    ("27c", "next steps", ""),
)


def checklist(parts: Mapping[str, Any]) -> tuple[ChecklistRow, ...]:
    """Every item of both guidelines. parts: the fields of an `EvaluationDocument` but the checklist."""
    answers = _answers(parts)
    return tuple(
        _row(guideline, *row, answers)
        for guideline, rows in ((CLAIM, _CLAIM), (TRIPOD, _TRIPOD))
        for row in rows
    )


def _row(guideline: str, item: str, topic: str, key: str, answers: Mapping[str, str]) -> ChecklistRow:
    answer = answers.get(key.strip("()"), "")
    filled = bool(answer) and not key.startswith("(")
    status = "filled" if filled else "needs author"
    return ChecklistRow(guideline=guideline, item=item, topic=topic, status=status, answer=answer)


def _answers(parts: Mapping[str, Any]) -> Mapping[str, str]:
    trained, tested, disjoint = parts["trained"], parts["tested"], parts["disjointness"]
    validation, split, recipe = parts["validation"], parts["split"], parts["trained"]["recipe"]
    kind = recipe["kind"]
    chosen = [f"{name} = {recipe[name]}" for name in ("C", "scaling") if recipe.get(name) is not None]
    settings = ", ".join(chosen) or "as the kind has it"
    sides = f"{trained['images']} images of {trained['patients']} patients for training, "
    sides += f"{tested['images']} of {tested['patients']} for testing"
    internal, external = validation.internal, validation.external
    return {
        "model": f"head ({kind}) on frozen vectors of {trained['encoder']}",
        "sites": f"training: {_sites(trained)}; testing: {_sites(tested)}",
        "filters": f"training and testing where {split.get('where') or 'anything'}; testing where "
        f"{split.get('test_where') or 'the patient was drawn'}",
        "space": f"fixed by the space {trained['space'][:12]} of {trained['encoder']} "
        f"{trained['encoder_version'] or ''}: weights, preprocessing, pooling, precision".replace(" :", ":"),
        "missing": f"images without a usable label left out: {_words(trained['left_out'])}",
        "labels": f"{trained['labels_from']}",
        "split": f"{split['kind']}, seed {split.get('seed')}; {sides}",
        "disjoint": _disjoint(disjoint),
        "detectable": _detectable(parts["smallest_detectable"]),
        "software": "embedstore; the record names encoder, version and data digest",
        "start": "the seed is recorded; logistic and ridge fits are convex and do not depend on a start",
        "training": f"{kind}: {settings}, seed {trained['seed']}",
        "choice": "settings by the least loss over folds of training patients",
        "ensemble": "none",
        "metrics": ", ".join(parts["metrics"]),
        "intervals": "95 % intervals by patient; the method stands beside each number",
        "robustness": "subgroups, metadata-only baseline, how far scores follow metadata, shuffled labels",
        "internal": "" if internal is None else f"on {validation.internal_by}: chapter 2",
        "external": "" if external is None else f"on {_sites(tested)}: chapter 2",
        "numbers": f"{sides}; per class {_words(trained['per_class'])} and {_words(tested['per_class'])}",
        "subgroups": "a table by " + ", ".join(_attributes(parts)) if _attributes(parts) else "",
        "performance": "every number with its interval, n and method: chapters 2 to 4",
        "limits": "; ".join(parts["notes"]),
        "availability": "embedstore is Apache-2.0; the head is stored as JSON and plain arrays",
        "predictors": "the vector of the image alone; no clinical variable",
        "updating": "none",
        "prediction": f"by a head of kind {kind} from the vector",
        "imbalance": f"{_words(trained['per_class'])}; long tail: {recipe.get('long_tail') or 'none'}",
        "output": "probabilities; thresholds are chosen on training patients or by the user",
        "difference": f"training: {_sites(trained)}, {_words(trained['per_class'])}; "
        f"testing: {_sites(tested)}, {_words(tested['per_class'])}",
        "poor_input": "what cannot be read or encoded is a recorded failure and gets no prediction",
    }


def _attributes(parts: Mapping[str, Any]) -> list[str]:
    return sorted({row.attribute for view in parts["findings"] for row in view.subgroups})


def _disjoint(found: Mapping[str, Any]) -> str:
    sites = {True: "sites too", False: "sites are shared", None: "sites not all known"}
    if not found["patient_disjoint"]:
        return ""
    vouched = (
        " (for images without an identifier, on the author's word)" if found["assumed_independent"] else ""
    )
    copies = "no near-duplicate crosses" if found["copies_looked_for"] else "near-duplicates not looked for"
    return f"patients{vouched}; {sites[found['site_disjoint']]}; {copies}"


def _detectable(value: float | None) -> str:
    return "" if value is None else f"a difference of {value:.3f} would be found 8 times in 10"


def _sites(side: Mapping[str, Any]) -> str:
    return ", ".join(f"{name or 'unknown site'} {count}" for name, count in side["sites"].items())


def _words(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
