"""Writes a phantom's report the way people write: in many words, with omissions, denials, doubt and mistakes.

What a report says is drawn apart from what is true: a finding may go unmentioned, be stated, denied or
doubted, and one statement in ten is wrong (a finding denied, invented, or put on the other side).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedstore.demo.anatomy import FINDINGS, SIDED, Anatomy, Lesion, Side

Said = Literal["present", "absent", "uncertain", "omitted"]

WRONG = 0.10
_OMITTED = {True: 0.10, False: 0.50}
_DOUBTED = {True: 0.10, False: 0.05}

_PRESENT: Mapping[str, Sequence[str]] = {
    "effusion": (
        "{Size} {side} pleural effusion.",
        "There is a {size} {side}-sided pleural effusion with an associated meniscus.",
        "Blunting of the {side} costophrenic angle, consistent with {size} pleural effusion.",
        "{Size} amount of pleural fluid on the {side}.",
        "{Side} pleural effusion, {size}.",
        "Layering fluid obscures the {side} hemidiaphragm in keeping with a {size} effusion.",
        "Homogeneous opacity at the {side} base, {size} effusion.",
    ),
    "pneumothorax": (
        "{Size} {side} pneumothorax.",
        "There is a {size} {side} apical pneumothorax with a visible visceral pleural line.",
        "{Side}-sided pneumothorax, {size}, without tension.",
        "Pleural line on the {side} with absent lung markings beyond it: {size} pneumothorax.",
        "{Size} pneumothorax on the {side} with partial collapse of the lung.",
        "Free pleural air along the {side} lateral chest wall, compatible with {size} pneumothorax.",
    ),
    "nodule": (
        "{Side} lung nodule measuring about {mm} mm.",
        "A rounded {mm} mm nodule projects over the {side} lung.",
        "Solitary pulmonary nodule in the {side} {zone} zone.",
        "Well-defined nodular opacity, {side} {zone} lung field.",
        "There is a {mm} mm pulmonary nodule on the {side}; CT is recommended.",
        "Coin lesion in the {side} {zone} zone.",
    ),
    "cardiomegaly": (
        "Cardiomegaly.",
        "The heart is enlarged.",
        "{Size} cardiomegaly.",
        "Enlarged cardiac silhouette.",
        "The cardiothoracic ratio exceeds 0.5, in keeping with cardiomegaly.",
        "Heart size is increased.",
    ),
}
_ABSENT: Mapping[str, Sequence[str]] = {
    "effusion": (
        "No pleural effusion.",
        "Both costophrenic angles are sharp.",
        "There is no evidence of pleural fluid.",
        "No effusion is seen.",
        "The pleural spaces are clear, without effusion.",
    ),
    "pneumothorax": (
        "No pneumothorax.",
        "There is no pneumothorax.",
        "No evidence of pneumothorax.",
        "Negative for pneumothorax.",
    ),
    "nodule": (
        "No pulmonary nodule.",
        "The lungs are free of nodules.",
        "No focal nodule or mass.",
        "No suspicious nodular opacity is identified.",
    ),
    "cardiomegaly": (
        "Heart size is normal.",
        "The cardiac silhouette is within normal limits.",
        "No cardiomegaly.",
        "Normal cardiomediastinal contour.",
        "The heart is not enlarged.",
    ),
}
_UNCERTAIN: Mapping[str, Sequence[str]] = {
    "effusion": (
        "Possible {size} {side} pleural effusion.",
        "A {side} pleural effusion cannot be excluded.",
        "Questionable blunting of the {side} costophrenic angle, effusion versus pleural thickening.",
    ),
    "pneumothorax": (
        "A {size} {side} pneumothorax cannot be excluded.",
        "Questionable {side} apical pneumothorax versus skin fold.",
        "Possible {side} pneumothorax; an expiratory view may help.",
    ),
    "nodule": (
        "Possible nodule in the {side} {zone} zone versus vessel on end.",
        "Questionable nodular density, {side} lung; overlap of shadows is possible.",
        "A {side} pulmonary nodule is suspected but not certain.",
    ),
    "cardiomegaly": (
        "The heart is at the upper limit of normal in size.",
        "Possible mild cardiomegaly, accentuated by projection.",
        "Borderline heart size.",
    ),
}
_INDICATIONS = (
    "Shortness of breath.",
    "Chest pain, rule out pneumothorax.",
    "Cough and fever.",
    "Pre-operative assessment.",
    "Follow-up.",
    "Evaluate for effusion.",
    "Routine check.",
    "Dyspnoea on exertion, query heart failure.",
)
_FILLERS = (
    "The bony thorax is intact.",
    "Degenerative changes of the thoracic spine.",
    "The mediastinal contour is unremarkable.",
    "Trachea is midline.",
    "The visualised upper abdomen is unremarkable.",
    "No focal consolidation.",
    "No acute osseous abnormality.",
    "Lung volumes are adequate.",
    "The hila are normal in appearance.",
    "Aortic calcification is noted.",
)
_TECHNIQUES = (
    "PA chest radiograph.",
    "Single frontal view of the chest.",
    "Chest, PA.",
    "Frontal chest radiograph, PA.",
)
_CLEAR = (
    "No acute cardiopulmonary process.",
    "Clear lungs.",
    "Normal chest radiograph.",
    "No acute findings.",
)
SYNTHETIC_NOTE = "Synthetic report of a phantom."


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a report says of one finding. wrong: it contradicts the truth."""

    finding: str
    said: Said
    side: Side | None = None
    wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """text: the report. statements: what it says of each finding, one per finding."""

    text: str
    statements: tuple[Statement, ...]


def write_report(person: Anatomy, lesions: tuple[Lesion, ...], rng: np.random.Generator) -> WrittenReport:
    """The report of one phantom film."""
    by_name = {lesion.name: lesion for lesion in lesions}
    statements = tuple(_decide(name, by_name.get(name), rng) for name in FINDINGS)
    sentences = {
        s.finding: _phrase(s, by_name.get(s.finding), rng) for s in statements if s.said != "omitted"
    }
    sentences = _merge_denials(statements, sentences, rng)
    body = [sentences[name] for name in rng.permutation(list(sentences))] if sentences else []
    for filler in rng.choice(_FILLERS, size=int(rng.integers(0, 2)), replace=False):
        body.insert(int(rng.integers(0, len(body) + 1)), str(filler))
    parts = []
    if rng.random() < 0.5:
        parts.append(f"INDICATION: {_pick(_INDICATIONS, rng)}")
    if rng.random() < 0.3:
        parts.append(f"TECHNIQUE: {_pick(_TECHNIQUES, rng)}")
    parts.append("FINDINGS: " + " ".join(str(sentence) for sentence in body))
    if rng.random() < 0.8:
        parts.append("IMPRESSION: " + _impression(statements, rng))
    parts.append(SYNTHETIC_NOTE)
    return WrittenReport(text="\n".join(parts), statements=statements)


def _decide(name: str, lesion: Lesion | None, rng: np.random.Generator) -> Statement:
    present = lesion is not None
    roll, wrong, other = rng.random(), bool(rng.random() < WRONG), rng.random()
    side: Side | None = lesion.side if lesion else None
    if name in SIDED and side is None:
        side = "right" if other < 0.5 else "left"
    if roll < _OMITTED[present]:
        return Statement(finding=name, said="omitted")
    if roll < _OMITTED[present] + _DOUBTED[present]:
        return Statement(finding=name, said="uncertain", side=side)
    if not wrong:
        return Statement(
            finding=name, said="present" if present else "absent", side=side if present else None
        )
    if present and name in SIDED and other < 0.4:
        return Statement(finding=name, said="present", side=_opposite(side), wrong=True)
    if present:
        return Statement(finding=name, said="absent", wrong=True)
    return Statement(finding=name, said="present", side=side, wrong=True)


def _opposite(side: Side | None) -> Side:
    return "left" if side == "right" else "right"


def _phrase(statement: Statement, lesion: Lesion | None, rng: np.random.Generator) -> str:
    phrases = {"present": _PRESENT, "absent": _ABSENT, "uncertain": _UNCERTAIN}[statement.said]
    grade = lesion.size if lesion else float(rng.uniform(0, 0.4))
    sizes = (
        ("mild", "moderate", "marked")
        if statement.finding == "cardiomegaly"
        else ("small", "moderate", "large")
    )
    size = sizes[min(2, int(grade * 3))]
    side = statement.side or ""
    height = lesion.place[1] if lesion else float(rng.uniform(0, 1))
    zone = ("upper", "middle", "lower")[min(2, int(height * 3))]
    millimetres = 2 * round(180 * (0.054 + 0.034 * grade))
    return _pick(phrases[statement.finding], rng).format(
        side=side, Side=side.capitalize(), size=size, Size=size.capitalize(), zone=zone, mm=millimetres
    )


def _merge_denials(
    statements: Sequence[Statement], sentences: Mapping[str, str], rng: np.random.Generator
) -> dict[str, str]:
    """Two denials are often one: "No pleural effusion or pneumothorax."."""
    merged = dict(sentences)
    denied = {s.finding for s in statements if s.said == "absent"}
    if {"effusion", "pneumothorax"} <= denied and rng.random() < 0.6:
        del merged["pneumothorax"]
        choices = ("No pleural effusion or pneumothorax.", "There is no pneumothorax or pleural effusion.")
        merged["effusion"] = _pick(choices, rng)
    return merged


def _impression(statements: Sequence[Statement], rng: np.random.Generator) -> str:
    names = {"effusion": "pleural effusion", "nodule": "pulmonary nodule"}
    claims = []
    for statement in statements:
        if statement.said in ("present", "uncertain"):
            doubt = "possible " if statement.said == "uncertain" else ""
            side = f"{statement.side} " if statement.side else ""
            claims.append(
                f"{doubt}{side}{names.get(statement.finding, statement.finding)}".capitalize() + "."
            )
    return " ".join(claims) if claims else _pick(_CLEAR, rng)


def _pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
