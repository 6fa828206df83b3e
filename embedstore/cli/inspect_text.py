"""What `embedstore inspect` prints of a file and of a folder, for a person and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from embedstore.cli.output import count, facts, size, table

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.engine.inspect import FileCard, RecipeCard
    from embedstore.engine.inspect_many import FolderCard, ReasonRow

_ATTRIBUTES = 5
# What says nothing of a person: with --no-identifiers all else is left out.
_HARMLESS_COLUMNS = frozenset(
    [
        "sop_class",
        "transfer_syntax",
        "frame",
        "modality",
        "body_part",
        "laterality",
        "view",
        "sex",
        "manufacturer",
        "model",
        "rows",
        "columns",
        "spacing_row_mm",
        "spacing_col_mm",
        "slice_thickness_mm",
        "kvp",
        "field_strength_t",
        "sequence",
        "contrast",
        "part_number",
        "position_mm",
        "time_s",
        "tile_x",
        "tile_y",
        "mpp",
        "magnification",
        "licence",
        "split",
    ]
)
_HARMLESS_ATTRIBUTES = frozenset(
    [
        "ImageType",
        "PhotometricInterpretation",
        "BurnedInAnnotation",
        "LossyImageCompression",
        "ConversionType",
        "PatientPosition",
        "PresentationIntentType",
        "ConvolutionKernel",
        "SliceThickness",
        "SliceLocation",
        "KVP",
        "RepetitionTime",
        "EchoTime",
        "MagneticFieldStrength",
        "NumberOfFrames",
        "SeriesNumber",
        "AcquisitionNumber",
    ]
)


def card_json(card: FileCard, private: bool) -> dict[str, Any]:
    """A file's card; with `private` without anything that may tell who it is."""
    card = _harmless(card) if private else card
    document = asdict(card)
    document["facts"] = dict(card.facts)
    return document


def folder_json(card: FolderCard, private: bool) -> dict[str, Any]:
    """A folder's card; with `private` without paths."""
    document = asdict(card)
    if private:
        document["path"] = _suffix_only(card.path)
        for reason in (*document["skips"], *document["failures"]):
            reason["examples"] = [_suffix_only(path) for path in reason["examples"]]
    return document


def card_text(card: FileCard, *, every_one: bool, private: bool) -> Iterator[Renderable]:
    """A file's card: what it is, what would be embedded, its columns, how it comes to the screen."""
    card = _harmless(card) if private else card
    yield f"{card.path}"
    yield from _indented(_what(card))
    yield ""
    yield "Would be embedded"
    yield from _indented(_items(card))
    if card.part is None:
        return
    yield ""
    yield f"Columns of {card.part}" if card.items > 1 else "Columns"
    yield from _indented([(k, v) for k, v in card.columns.items() if v is not None])
    yield from _attributes(card.attributes, every_one)
    yield ""
    yield "Picture"
    yield from _indented(_shown(card))
    if card.recipe is not None:
        yield ""
        yield from _recipe(card.recipe)


def _what(card: FileCard) -> list[tuple[str, Any]]:
    return [("format", card.format), ("reader", card.reader), *card.facts, ("size", size(card.bytes))]


def _items(card: FileCard) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    if card.items:
        first = ", ".join(card.parts) + (", ..." if card.items > len(card.parts) else "")
        pairs += [("unit", card.unit), ("because", card.why), ("items", card.items)]
        pairs += [("parts", first), ("wholes", card.wholes or None), ("shown", card.part)]
    if card.reports:
        pairs.append(("reports", card.reports))
    pairs += [("skipped", reason) for reason in card.skips]
    return pairs or [("nothing", "the file yields no item")]


def _attributes(attributes: Mapping[str, Any], every_one: bool) -> Iterator[str]:
    if not attributes:
        return
    yield ""
    yield f"Further attributes: {len(attributes)} ('attr.NAME' in a filter)"
    kept = list(attributes.items())
    yield from _indented(kept if every_one else kept[:_ATTRIBUTES])
    if not every_one and len(kept) > _ATTRIBUTES:
        yield f"  and {len(kept) - _ATTRIBUTES} more; --all lists them"


def _shown(card: FileCard) -> list[tuple[str, Any]]:
    stored = card.stored
    pairs: list[tuple[str, Any]] = []
    if "shape" in stored:
        pairs.append(("pixels", " x ".join(map(str, stored["shape"]))))
    if "low" in stored:
        pairs.append(("values", f"{stored['low']:g} to {stored['high']:g}"))
    if "spacing_mm" in stored:
        pairs.append(("spacing", " x ".join(f"{value:g}" for value in stored["spacing_mm"]) + " mm"))
    pairs.append(("display", card.display or None))
    pairs += [("note", remark) for remark in card.remarks]
    if card.failure:
        pairs.append(("failure", card.failure))
    return pairs


def _recipe(recipe: RecipeCard) -> Iterator[str]:
    yield f"What {recipe.encoder} makes of it"
    yield from (f"  {step}" for step in recipe.steps)
    if recipe.refusal:
        yield f"  refused: {recipe.refusal}"
    else:
        shape = " x ".join(map(str, recipe.input))
        yield f"  gives {shape} values from {recipe.low:.3g} to {recipe.high:.3g}"


def _indented(pairs: list[tuple[str, Any]]) -> Iterator[str]:
    shown = [(k, f"{v:.6g}" if isinstance(v, float) else v) for k, v in pairs]
    return (f"  {line}" for line in facts(shown))


def folder_text(card: FolderCard, private: bool) -> Iterator[Renderable]:
    """A folder's card: kinds with their counts, then what is skipped and what cannot be read."""
    path = _suffix_only(card.path) if private else card.path
    yield f"{path}: {count(card.files, 'file')}, {count(card.items, 'item')}"
    if not card.complete:
        yield f"Only the first {card.files} files were looked at; --limit takes more."
    if card.kinds:
        yield table(
            ("files", "items", "wholes", "modality", "one item is", "reader"),
            [
                (row.files, row.items, row.wholes or None, row.modality, row.unit or "report", row.reader)
                for row in card.kinds
            ],
            widest="reader",
        )
    for title, rows in (("skipped", card.skips), ("failed", card.failures)):
        if rows:
            yield table(
                (title, "reason", "for example"),
                [(row.files, row.reason, _example(row, card.path, private)) for row in rows],
                widest="reason",
            )


def _example(row: ReasonRow, folder: str, private: bool) -> str:
    path = row.examples[0]
    return _suffix_only(path) if private else path.removeprefix(f"{folder}/").removeprefix(f"{folder}!/")


def _harmless(card: FileCard) -> FileCard:
    return replace(
        card,
        path=_suffix_only(card.path),
        columns={k: v for k, v in card.columns.items() if k in _HARMLESS_COLUMNS},
        attributes={k: v for k, v in card.attributes.items() if k in _HARMLESS_ATTRIBUTES},
        remarks=(*card.remarks, "identifiers are left out; text burned into the pixels would still show"),
    )


def _suffix_only(path: str) -> str:
    return f"(file){PurePath(path).suffix.lower()}"
