"""The gallery of a label audit: each suspected label with its picture, and what confirms or rejects it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedstore.engine.label_requests import AuditCard, Suspect, Twins
from embedstore.pages.contact_sheet import Thumbnails
from embedstore.pages.measured import shown
from embedstore.pages.records import Chip, Gallery, Tile
from embedstore.pages.render import render


def audit_page(audit: AuditCard, thumbnails: Thumbnails) -> str:
    """One self-contained HTML page: no script, nothing fetched, every text escaped."""
    galleries = [
        Gallery(
            title="Suspected labels",
            text="Most suspect first. Confirm a correction, or reject the doubt, by saying what is right: "
            "either word is a vote of yours beside the others; nothing is overwritten.",
            tiles=tuple(_tile(audit.label_set, one, thumbnails) for one in audit.suspects),
        )
    ]
    if audit.twins:
        galleries.append(
            Gallery(
                title="The same image, different labels",
                tiles=tuple(
                    _twin(audit.label_set, one, side, thumbnails) for one in audit.twins for side in (0, 1)
                ),
            )
        )
    return render("audit.html", audit=audit, facts=_facts(audit), galleries=galleries)


def _facts(audit: AuditCard) -> tuple[tuple[str, str], ...]:
    return (
        ("Labels", f"{audit.source}: {', '.join(audit.classes)}"),
        ("Audited", f"{audit.images} images of {audit.patients} patients, by the vectors of {audit.encoder}"),
        ("Suspected", f"{len(audit.suspects)} labels; {len(audit.twins)} pairs of like images differ"),
        *((f"By the {name}", _quality(one)) for name, one in audit.quality.items()),
        *(("Warning", warning) for warning in audit.warnings),
    )


def _quality(found: Mapping[str, Any]) -> str:
    """How well a judge tells the labels, with what that rests on."""
    positives = "" if found["n_positives"] is None else f", {found['n_positives']} positives"
    return (
        f"{found['metric'].replace('_', ' ')} {shown(found)} on patients not seen: "
        f"{found['n_images']} images, {found['n_patients']} patients{positives}; {found['method']}"
    )


def _command(label_set: str, item: int, said: str) -> str:
    return f'embedstore label say "{label_set}" "{item}={said}" --by NAME'


def _tile(label_set: str, one: Suspect, thumbnails: Thumbnails) -> Tile:
    return Tile(
        image=thumbnails(one.id),
        title=f"Item {one.id}",
        chips=(
            Chip(text=f"given: {one.given}", tone="no"),
            Chip(text=f"rather: {one.suggested}", tone="yes"),
        ),
        lines=(
            f"doubted by {' and '.join(one.by)}",
            f"probability of the given label {one.probability_of_given:.2f}, "
            f"neighbours that share it {one.neighbours_with_given:.0%}",
            f"confirm: {_command(label_set, one.id, one.suggested)}",
            f"reject: {_command(label_set, one.id, one.given)}",
        ),
    )


def _twin(label_set: str, pair: Twins, side: int, thumbnails: Thumbnails) -> Tile:
    other = 1 - side
    return Tile(
        image=thumbnails(pair.ids[side]),
        title=f"Item {pair.ids[side]}, like item {pair.ids[other]} (cosine {pair.cosine:.4f})",
        chips=(Chip(text=f"given: {pair.labels[side]}"),),
        lines=(f"as the other: {_command(label_set, pair.ids[side], pair.labels[other])}",),
    )
