"""The catalog: everything the engine asks of an open store. One class, each method one transaction."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, delete, insert, select

from embedstore.contracts.encoder import EncoderSpec, TowerKind
from embedstore.contracts.image import F32, I64
from embedstore.contracts.query import Item
from embedstore.storage import overview, reading
from embedstore.storage.batches import Committed, IngestBatch, ItemKey, ItemKind, ProblemKind
from embedstore.storage.commit import check_vectors, commit_batch
from embedstore.storage.commit_items import find_ids
from embedstore.storage.database import Database
from embedstore.storage.filters import Where
from embedstore.storage.labels import Labels
from embedstore.storage.layout import StoreFolder
from embedstore.storage.lease import database_lease, writer_lease
from embedstore.storage.links import link_reports
from embedstore.storage.models import Models
from embedstore.storage.records import (
    Changes,
    ConflictRow,
    Counts,
    Missing,
    Pairs,
    ProblemRow,
    RunRow,
    SourceRow,
    SpaceRow,
    VectorItems,
)
from embedstore.storage.segments import SEGMENT_BYTES
from embedstore.storage.tables import StoreMeta
from embedstore.storage.vectors import VectorBook, changes, last_seq, log_sha256
from embedstore.storage.wholes import Wholes

T = TypeVar("T")


class Catalog:
    """The truth of a store: SQL metadata, vector segments, change log.

    Reading is never blocked and may happen in several threads. A writing method takes the writer lease for
    itself; hold it over several with `writing()`. labels, models: votes and what was learned. wholes: derived
    rows.
    """

    def __init__(self, database: Database, folder: StoreFolder, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.database = database
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._book = VectorBook(database, folder.segments)
        self._turn = threading.RLock()
        self._depth = 0
        self._lease = ExitStack()
        self.labels = Labels(database, self.writing)
        self.models = Models(database, folder.arrays, self.writing)
        self.wholes = Wholes(database, folder.segments, segment_bytes, self.writing)

    def close(self) -> None:
        """Let go of the database and the mapped segments."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the store's only writer for the body; re-entrant. Raises StoreBusy at once when there is one."""
        with self._turn:
            if self._depth == 0:
                with ExitStack() as taken:
                    taken.enter_context(writer_lease(self.folder.lock))
                    taken.enter_context(database_lease(self.database, self.folder.store_id))
                    self._lease = taken.pop_all()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._lease.close()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self.writing(), self.database.write() as connection:
            yield connection

    def _read(self, ask: Callable[..., T], *arguments: Any) -> T:
        with self.database.read() as connection:
            return ask(connection, *arguments)

    # Spaces and runs.

    def ensure_space(self, spec: EncoderSpec, kind: TowerKind) -> SpaceRow:
        """Record the space of a bound encoder's tower, or find it. Raises UsageError for a template."""
        with self._write() as connection:
            return overview.space(connection, overview.ensure_space(connection, spec, kind))

    def space(self, name: str | int) -> SpaceRow:
        """A space by fingerprint or id. Raises NotFound."""
        return self._read(overview.space, name)

    def spaces(self) -> list[SpaceRow]:
        """All spaces, oldest first."""
        return self._read(overview.spaces)

    def provenance(self, fingerprint: str) -> dict[str, Any]:
        """How the encoder of a space was loaded; empty when nothing was recorded."""
        query = select(StoreMeta.value).where(StoreMeta.key == f"provenance:{fingerprint}")
        found = self._read(lambda connection: connection.execute(query).scalar())
        return dict(json.loads(found)) if found is not None else {}

    def set_provenance(self, fingerprint: str, provenance: Mapping[str, Any]) -> None:
        """Record how the encoder of a space is loaded. JSON values."""
        key = f"provenance:{fingerprint}"
        with self._write() as connection:
            connection.execute(delete(StoreMeta).where(StoreMeta.key == key))
            connection.execute(insert(StoreMeta).values(key=key, value=json.dumps(dict(provenance))))

    def note(self, key: str) -> str | None:
        """A fact about the whole store, None when it was never noted."""
        query = select(StoreMeta.value).where(StoreMeta.key == f"note:{key}")
        found: str | None = self._read(lambda connection: connection.execute(query).scalar())
        return found

    def set_note(self, key: str, value: str) -> None:
        """Note a fact about the whole store, in place of an earlier one of that key."""
        with self._write() as connection:
            connection.execute(delete(StoreMeta).where(StoreMeta.key == f"note:{key}"))
            connection.execute(insert(StoreMeta).values(key=f"note:{key}", value=value))

    def begin_run(self, verb: str, arguments: Mapping[str, Any]) -> int:
        """Record that a verb began; the id of the run."""
        with self._write() as connection:
            return overview.begin_run(connection, verb, arguments)

    def end_run(self, run_id: int, counts: Mapping[str, Any]) -> None:
        """Record that a verb ended, with its counts."""
        with self._write() as connection:
            overview.end_run(connection, run_id, counts)

    def runs(self, limit: int | None = 10, verb: str | None = None) -> list[RunRow]:
        """The latest runs, or those of one verb, newest first; all when there is no limit."""
        return self._read(overview.runs, limit, verb)

    # Ingest.

    def known_sources(
        self,
        paths: Iterable[str],
        *,
        image_space: int | None = None,
        text_space: int | None = None,
        site: str | None = None,
    ) -> dict[str, SourceRow]:
        """Those of the paths the store has met, and how many of their items lack a vector in these spaces.

        site: items of others are counted in `elsewhere`.
        """
        return self._read(overview.known_sources, paths, image_space, text_space, site)

    def source_sha256(self, path: str, size: int, mtime_ns: int) -> str | None:
        """What the bytes of a source were when it was met with this size and time; None when it was not."""
        return self._read(overview.source_sha256, path, size, mtime_ns)

    def missing(self, keys: Iterable[ItemKey], space_id: int) -> Missing:
        """Which keys are no item, and which have no vector in the space."""
        return self._read(overview.missing, keys, space_id)

    def commit(self, batch: IngestBatch) -> Committed:
        """Store a batch, wholly or not at all; on return it survives a crash and a power loss.

        Raises UsageError (a bad vector, an unknown source), SpaceMismatch, StorageFull, StoreDamaged,
        StoreBusy; nothing is changed then.
        """
        check_vectors(batch)
        with self._write() as connection:
            return commit_batch(connection, self.folder.segments, batch, self._segment_bytes)

    def link_reports(self) -> int:
        """Link reports to the images they speak about; the number of new links."""
        with self._write() as connection:
            return link_reports(connection)

    # Items.

    def item(self, item_id: int) -> Item:
        """One item. Raises NotFound."""
        return self.items([item_id])[0]

    def items(self, item_ids: Sequence[int]) -> list[Item]:
        """Items in the order asked, in a handful of selects. Raises NotFound naming the id."""
        return self._read(reading.items, item_ids)

    def find_items(self, keys: Iterable[ItemKey]) -> dict[ItemKey, int]:
        """Ids of the items among these keys."""
        return self._read(find_ids, list(keys))

    def select_items(self, where: Where | None = None, kind: ItemKind | None = None) -> I64:
        """(n,) sorted ids of the items that pass."""
        return self._read(reading.select_items, where, kind)

    def column(self, item_ids: Sequence[int] | I64, name: str) -> list[Any]:
        """One column (`attr.NAME` too) of items in the order asked; None where unknown."""
        return [row[name] for row in self.columns(item_ids, [name])]

    def columns(self, item_ids: Sequence[int] | I64, names: Sequence[str]) -> list[dict[str, Any]]:
        """Several columns of items in the order asked. Raises FilterError for an unknown one, NotFound."""
        return self._read(reading.columns, item_ids, names)

    def has_patient(self, name: str) -> bool:
        """Whether any item is, or is claimed to be, of a patient of that key, PatientID or group."""
        return self._read(reading.has_patient, name)

    def patient_groups(self, item_ids: Sequence[int] | I64) -> list[str]:
        """What splits must go by: persons, who may stand under several patient names (see `one_person`)."""
        return self._read(reading.patient_groups, item_ids)

    def reports_of(self, image_ids: Sequence[int] | I64) -> dict[int, list[int]]:
        """Ids of the reports linked to images; an image without one is absent."""
        return self._read(reading.reports_of, image_ids)

    def texts(self, item_ids: Sequence[int] | I64) -> list[str]:
        """A report's own text, an image's linked text, "" when there is none; in the order asked."""
        return self._read(reading.texts, item_ids)

    def pairs(self, image_space_id: int, text_space_id: int, where: Where | None = None) -> Pairs:
        """Linked images and reports that both have their vector; `where` speaks about the images."""
        return self._read(reading.pairs, image_space_id, text_space_id, where)

    # Vectors and their log.

    def vector_ids(
        self,
        space_id: int,
        where: Where | None = None,
        kind: ItemKind | None = None,
        exclude_patients: Collection[str] = (),
    ) -> I64:
        """(n,) sorted ids of the space's vectors whose items pass: the allow-set of a search.

        A patient is excluded by patient key, PatientID or group, also where only one source claims it.
        """
        if where is None and not exclude_patients:
            return self._book.ids(space_id, kind)
        return self._read(reading.vector_ids, space_id, where, kind, exclude_patients)

    def vectors(self, space_id: int, vector_ids: I64) -> F32:
        """(n, dim) stored vectors in the order asked. Raises NotFound, StoreDamaged naming the file."""
        return self._book.vectors(space_id, vector_ids)

    def item_vectors(self, space_id: int, item_ids: I64) -> tuple[I64, F32]:
        """Those items that have a vector in the space, in the order asked, and the vectors."""
        return self._book.item_vectors(space_id, item_ids)

    def vector_items(self, space_id: int, vector_ids: I64) -> VectorItems:
        """Items of vectors and codes of their patients and studies, in the order asked. Raises NotFound."""
        items = self._book.items(space_id, vector_ids)
        return VectorItems(items, *self._read(reading.codes, items))

    def last_seq(self, space_id: int) -> int:
        """Last entry of the change log that concerns the space, 0 when there is none."""
        return self._read(last_seq, space_id)

    def changes(self, space_id: int, after_seq: int = 0) -> Changes:
        """Net additions and removals of the space after a point of the log."""
        return self._read(changes, space_id, after_seq)

    def log_sha256(self, space_id: int, seq: int) -> str:
        """What tells the space's log up to an entry from another one of that length."""
        return self._read(log_sha256, space_id, seq)

    # The store about itself.

    def counts(self) -> Counts:
        """Totals of everything."""
        return self._read(overview.counts)

    def failures(self, limit: int | None = None, kind: ProblemKind | None = None) -> list[ProblemRow]:
        """Recorded failures and skips, or one kind of them, by path."""
        return self._read(overview.problems, limit, kind)

    def conflicts(self, limit: int | None = None) -> list[ConflictRow]:
        """Recorded disagreements between sources, oldest first."""
        return self._read(overview.conflicts, limit)
