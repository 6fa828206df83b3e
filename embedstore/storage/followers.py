"""Regions follow their image: whatever is said of the image is said of every region on it.

Whose image it is decides whom a search leaves out, and may be told long after its regions came in, by an
ingest that knows nothing of them; or before they did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy import Connection, select

from embedstore.contracts.region import image_part
from embedstore.storage.batches import IngestBatch, ItemKey
from embedstore.storage.chunks import chunked, unique
from embedstore.storage.merge import Word
from embedstore.storage.tables import Item

_OWN = "label"  # what an image is called is not what is drawn on it


def image_of(region: ItemKey) -> ItemKey:
    """Identity of the image that a region lies on."""
    return region[0], image_part(region[1])


def with_stored_regions(connection: Connection, batch: IngestBatch) -> IngestBatch:
    """The batch with the regions that the store has of its images, which are met wherever these are."""
    images = [item for item in batch.items if item.kind == "image"]
    regions = _stored_regions(connection, unique(item.sha256 for item in images))
    there = {(item.source, item.key) for item in batch.items}
    items, assertions = list(batch.items), list(batch.assertions)
    for image in images:
        header = replace(image.header, label=None)
        items += (
            replace(image, part=part, kind="region", header=header)
            for part in regions.get(image.key, ())
            if (image.source, (image.sha256, part)) not in there
        )
    for said in batch.assertions:
        if said.field != _OWN:
            assertions += (
                replace(said, key=(said.key[0], part))
                for part in regions.get(said.key, ())
                if (said.source, (said.key[0], part)) not in there
            )
    return replace(batch, items=tuple(items), assertions=tuple(assertions))


def inherited(words: Mapping[int, Word]) -> dict[int, Word]:
    """What a new region is told of its image, by the sources that spoke of it before."""
    return {
        source: replace(
            word,
            header={name: value for name, value in word.header.items() if name != _OWN},
            overruled={name: value for name, value in word.overruled.items() if name != _OWN},
        )
        for source, word in words.items()
    }


def _stored_regions(connection: Connection, hashes: Iterable[str]) -> dict[ItemKey, list[str]]:
    """Parts of the regions in the store, by their images."""
    found: dict[ItemKey, list[str]] = {}
    for some in chunked(list(hashes)):
        query = select(Item.sha256, Item.part).where(Item.sha256.in_(some), Item.kind == "region")
        for sha256, part in connection.execute(query.order_by(Item.id)):
            found.setdefault(image_of((sha256, part)), []).append(part)
    return found
