"""What `embedstore label` says to a person."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.label_requests import AuditCard, Suggestion
    from embedstore.engine.requests import LabelSetCard

_PAIRS = 5
_SUSPECTS = 20
_COUNTED = ("images", "patients", "positives")


def write_worklist(out: Path, found: tuple[Suggestion, ...]) -> None:
    """A CSV with an empty column `label`. The path stands in it, what machines believe does not: a person who
    sees that leans to it."""
    from embedstore.engine.label_files import csv_safe

    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "path", "why", "label"))
        writer.writerows([one.id, csv_safe(one.path), one.why, ""] for one in found)


def write_suspects(out: Path, card: AuditCard) -> None:
    """A CSV with an empty column `label`: what is right, the given or the suggested class."""
    from embedstore.engine.label_files import csv_safe

    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "path", "given", "suggested", "by", "label"))
        writer.writerows(
            [one.id, csv_safe(one.path), csv_safe(one.given), csv_safe(one.suggested), " ".join(one.by), ""]
            for one in card.suspects
        )


def audit_text(card: AuditCard, written: list[Path]) -> Iterator[Renderable]:
    """The suspects, the most suspect first, what they rest on, and twins that differ."""
    from embedstore.cli.output import estimate, table

    yield (
        f"{len(card.suspects)} of {card.images} labels ({card.source}) of {card.patients} patients are "
        f"suspected; {len(card.twins)} pairs of like images differ."
    )
    yield from (f"Warning: {warning}." for warning in card.warnings)
    yield table(
        ("suspects rest on", "told by", "value [95 % interval]", "images", "patients", "positives"),
        [
            (name, one["metric"].replace("_", " "), estimate(one), *(one[f"n_{n}"] for n in _COUNTED))
            for name, one in card.quality.items()
        ],
        title="How well other patients tell these labels",
    )
    if card.suspects:
        yield table(
            ("id", "given", "rather", "p(given)", "by", "path"),
            [
                (one.id, one.given, one.suggested, one.probability_of_given, " ".join(one.by), one.path)
                for one in card.suspects[:_SUSPECTS]
            ],
            widest="path",
        )
    if card.twins:
        rows = [(*one.ids, *one.labels, one.cosine) for one in card.twins[:_SUSPECTS]]
        yield table(("id", "other id", "label", "other label", "cosine"), rows)
    yield from (f"Written: {path}" for path in written)


def card_text(card: LabelSetCard, following: str = "") -> Iterator[Renderable]:
    """Voters, what they say together, and the label model beside the majority."""
    from embedstore.cli.output import count, estimate, facts, table

    yield f"Label set '{card.label_set}' ({', '.join(card.classes)}): {count(card.items, 'item')}."
    measured = any(one.accuracy is not None for one in card.voters)
    yield table(
        (
            "voter",
            "version",
            "voted",
            "coverage",
            "overlap",
            "conflict",
            *(("accuracy",) if measured else ()),
        ),
        [
            (
                one.voter,
                one.version[:12],
                one.voted,
                one.coverage,
                one.overlap,
                one.conflict,
                *((estimate(one.accuracy),) if measured else ()),
            )
            for one in card.voters
        ],
        widest="voter",
    )
    if card.gold:
        yield f"Accuracy is by {count(card.gold, 'item')} with a gold label."
    if card.dependence:
        yield table(
            ("voters", "dependence w", "p", "images", "patients", "by"),
            [
                (
                    f"{p['first']} + {p['second']}",
                    p["w"],
                    p["p_value"],
                    p["n_images"],
                    p["n_patients"],
                    p["known"],
                )
                for p in card.dependence[:_PAIRS]
            ],
            widest="voters",
        )
    for warning in card.warnings:
        yield f"Warning: {warning}."
    if card.model is not None:
        yield "Fused:"
        yield from facts((f"  {name.replace('_', ' ')}", _short(value)) for name, value in card.model.items())
    if following:
        yield following


def _short(value: Any) -> Any:
    from embedstore.cli.output import estimate

    if isinstance(value, Mapping) and "value" not in value:
        return ", ".join(f"{name} {estimate(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(str, value)) or None
    return estimate(value)
