"""The files of stored items, as long as they hold the bytes that were embedded."""

from __future__ import annotations

from embedstore.contracts.query import Item
from embedstore.contracts.record import Source
from embedstore.errors import ReadFailure
from embedstore.fingerprint import stream_sha256
from embedstore.readers.sources import source_at
from embedstore.settings import Limits
from embedstore.storage.catalog import Catalog


class StoredSources:
    """Opens sources again. A file that was replaced may show another patient under the item's name."""

    def __init__(self, catalog: Catalog, limits: Limits) -> None:
        self._catalog = catalog
        self._limits = limits
        self._sha256: dict[tuple[str, int, int], str] = {}

    def of(self, item: Item, path: str) -> Source:
        """The source that a path of the item names. Raises NotFound, or ReadFailure for other bytes."""
        source = source_at(path, self._limits)
        if self._of_bytes(source) != item.sha256:
            raise ReadFailure("the file holds other bytes than those that were ingested")
        return source

    def _of_bytes(self, source: Source) -> str:
        """As recorded while size and time are those recorded, else of the bytes that are there now."""
        key = (source.path, source.size, source.mtime_ns)
        if key not in self._sha256:
            found = self._catalog.source_sha256(*key)
            if found is None:
                with source.open() as stream:
                    found = stream_sha256(stream)
            self._sha256[key] = found
        return self._sha256[key]
