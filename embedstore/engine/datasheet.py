"""The datasheet of an exported dataset, in Markdown: what is known is filled in, the rest asks its author.

After Gebru et al., Datasheets for Datasets, Communications of the ACM 64(12):86, 2021.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from embedstore.contracts.labels import LabelSet
from embedstore.engine.label_files import LabelRow, one_cell

_ASK = "*needs author*"


def datasheet(
    label_set: LabelSet,
    rows: Sequence[LabelRow],
    provenance: Mapping[str, Any],
    accuracies: Mapping[str, str],
) -> str:
    """The document. accuracies: voter to its accuracy on gold labels with interval and counts, in words."""
    return "\n".join(
        [
            f"# Datasheet: {one_cell(label_set.name)}",
            "",
            "## Motivation",
            "",
            f"Purpose, creators and funding: {_ASK}",
            "",
            "## Composition",
            "",
            *_composition(label_set, rows),
            "",
            "## Labels",
            "",
            *_labels(provenance, accuracies),
            "",
            "## Collection, ethics and distribution",
            "",
            f"How the images were collected, consent, de-identification, approvals and licence: {_ASK}",
            "",
            "## Uses",
            "",
            "Fused labels are weak labels: not for diagnosis, and no ground truth to judge a model by.",
            "Labels of persons (voters `person:NAME` in the provenance) are the ones to judge by.",
            f"Uses this dataset is meant for, and those it is not: {_ASK}",
            "",
            "## Maintenance",
            "",
            f"Contact, versions, errata: {_ASK}",
            "",
        ]
    )


def _composition(label_set: LabelSet, rows: Sequence[LabelRow]) -> list[str]:
    patients = {row.item.patient for row in rows if row.item.patient_known}
    unknown = sum(not row.item.patient_known for row in rows)
    lines = [
        f"- {len(rows)} images of {len(patients)} known patients; {unknown} images whose patient is unknown.",
        "- Images of one patient are not independent: split by patient.",
        "",
        "| label | images |",
        "|---|---|",
    ]
    counts = Counter(row.label for row in rows)
    lines += [f"| {one_cell(name)} | {counts[name]} |" for name in label_set.classes]
    for column in ("modality", "site", "manufacturer", "sex", "split"):
        found = Counter(str(row.item.columns.get(column) or "unknown") for row in rows)
        told = ", ".join(f"{one_cell(value)} {n}" for value, n in found.most_common(12))
        lines += ["", f"{column}: {told or 'unknown'}"]
    return lines


def _labels(provenance: Mapping[str, Any], accuracies: Mapping[str, str]) -> list[str]:
    lines = [
        f"Fused by {provenance.get('model')} on {provenance.get('created')}. Every vote, superseded or not, "
        "is in the provenance file: voter, version, code and input hash, time.",
        "",
        "| voter | version | accuracy on gold labels |",
        "|---|---|---|",
    ]
    for voter, version in dict(provenance.get("voters", {})).items():
        told = accuracies.get(voter, "not measured")
        lines.append(f"| {one_cell(voter)} | {one_cell(str(version))} | {told} |")
    return lines
