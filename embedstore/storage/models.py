"""Bridges, heads and predictions: rows in SQL, arrays in checksummed files named by their content."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, and_, delete, insert, select

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import HeadSpec
from embedstore.errors import NotFound, StoreDamaged, UsageError
from embedstore.fingerprint import bytes_sha256, digest
from embedstore.storage.database import Database
from embedstore.storage.disk import write_durably
from embedstore.storage.labels import Writing
from embedstore.storage.learned import Arrays, BridgeRow, NewBridge, Predictions, StoredHead
from embedstore.storage.tables_learned import Bridge, BridgeAnchor, HeadRow, Prediction
from embedstore.storage.types import clean_text, now

_TOGETHER = 500


class Models:
    """`catalog.models`. arrays: folder of array files. writing: takes the writer lease, re-entrant."""

    def __init__(self, database: Database, arrays: Path, writing: Writing) -> None:
        self._database = database
        self._folder = arrays
        self._writing = writing

    # Bridges

    def save_bridge(self, bridge: NewBridge) -> int:
        """Record a bridge. Raises UsageError when its name is taken; a recorded bridge never changes."""
        with self._writing():
            file, sha256 = self._write(bridge.arrays)
            with self._database.write() as connection:
                _refuse_taken(connection, Bridge, bridge.name, "bridge")
                values = {
                    "name": clean_text(bridge.name),
                    "image_space": bridge.image_space,
                    "text_space": bridge.text_space,
                    "kind": bridge.kind,
                    "spec": dict(bridge.spec),
                    "anchors_sha256": digest(bridge.anchors.tolist()),
                    "arrays": file,
                    "arrays_sha256": sha256,
                    "quality": dict(bridge.quality),
                    "created": now(),
                }
                inserted = connection.execute(insert(Bridge).values(values)).inserted_primary_key
                assert inserted is not None
                anchors = zip(bridge.anchors.tolist(), bridge.anchor_patients, strict=True)
                connection.execute(
                    insert(BridgeAnchor),
                    [
                        {"bridge_id": inserted[0], "position": n, "item_id": item, "patient": patient}
                        for n, (item, patient) in enumerate(anchors)
                    ],
                )
                return int(inserted[0])

    def bridge(self, name: str) -> BridgeRow:
        """A bridge with its anchors. Raises NotFound with the names there are."""
        with self._database.read() as connection:
            row = connection.execute(select(Bridge.__table__).where(Bridge.name == name)).first()
            if row is None:
                raise NotFound(_unknown(connection, Bridge, name, "bridge"))
            anchors = connection.execute(
                select(BridgeAnchor.item_id, BridgeAnchor.patient)
                .where(BridgeAnchor.bridge_id == row.id)
                .order_by(BridgeAnchor.position)
            ).all()
        items = np.array([a.item_id for a in anchors], np.int64)
        return _bridge_row(row, items, tuple(sorted({a.patient for a in anchors})))

    def bridges(self) -> list[BridgeRow]:
        """Every bridge, newest first, without its anchors."""
        with self._database.read() as connection:
            rows = connection.execute(select(Bridge.__table__).order_by(Bridge.id.desc())).all()
        return [_bridge_row(row, np.zeros(0, np.int64), ()) for row in rows]

    def bridge_arrays(self, name: str) -> dict[str, Any]:
        """A bridge's arrays. Raises NotFound, StoreDamaged."""
        return self._read(Bridge, name, "bridge")

    # Heads

    def save_head(self, spec: HeadSpec, arrays: Arrays, details: Mapping[str, Any] | None = None) -> int:
        """Record a head. Raises UsageError when its name is taken; a recorded head never changes."""
        with self._writing():
            file, sha256 = self._write(arrays)
            with self._database.write() as connection:
                _refuse_taken(connection, HeadRow, spec.name, "head")
                values = {
                    "name": clean_text(spec.name),
                    "space": spec.space,
                    "target": spec.target,
                    "classes": list(spec.classes),
                    "spec": asdict(spec),
                    "details": dict(details or {}),
                    "arrays": file,
                    "arrays_sha256": sha256,
                    "created": now(),
                }
                inserted = connection.execute(insert(HeadRow).values(values)).inserted_primary_key
                assert inserted is not None
                return int(inserted[0])

    def head(self, name: str) -> StoredHead:
        """Raises NotFound with the names there are."""
        with self._database.read() as connection:
            row = connection.execute(select(HeadRow.__table__).where(HeadRow.name == name)).first()
            if row is None:
                raise NotFound(_unknown(connection, HeadRow, name, "head"))
        return _stored_head(row)

    def heads(self) -> list[StoredHead]:
        """Every head, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(HeadRow.__table__).order_by(HeadRow.id.desc())).all()
        return [_stored_head(row) for row in rows]

    def head_arrays(self, name: str) -> dict[str, Any]:
        """A head's arrays. Raises NotFound, StoreDamaged."""
        return self._read(HeadRow, name, "head")

    def save_predictions(self, head: str, items: I64, probabilities: F32) -> int:
        """Write (n,) items' (n, classes) probabilities in place of the head's earlier ones for them."""
        head_id = self.head(head).id
        created = now()
        with self._writing(), self._database.write() as connection:
            for first in range(0, len(items), _TOGETHER):
                some = items[first : first + _TOGETHER].tolist()
                chosen = and_(Prediction.head_id == head_id, Prediction.item_id.in_(some))
                connection.execute(delete(Prediction).where(chosen))
                rows = [
                    {
                        "head_id": head_id,
                        "item_id": item,
                        "probabilities": [float(p) for p in probabilities[first + n]],
                        "created": created,
                    }
                    for n, item in enumerate(some)
                ]
                connection.execute(insert(Prediction), rows)
        return len(items)

    def predictions(self, head: str) -> Predictions:
        """What a head said, by item id."""
        found = self.head(head)
        with self._database.read() as connection:
            rows = connection.execute(
                select(Prediction.item_id, Prediction.probabilities)
                .where(Prediction.head_id == found.id)
                .order_by(Prediction.item_id)
            ).all()
        shape = (len(rows), len(found.spec.classes))
        return Predictions(
            np.array([row.item_id for row in rows], np.int64),
            np.array([row.probabilities for row in rows], np.float32).reshape(shape),
        )

    # Arrays

    def files(self) -> dict[str, str]:
        """Every array file that a bridge or head needs, with its sha256."""
        with self._database.read() as connection:
            rows = [
                *connection.execute(select(Bridge.arrays, Bridge.arrays_sha256)),
                *connection.execute(select(HeadRow.arrays, HeadRow.arrays_sha256)),
            ]
        return {row[0]: row[1] for row in rows}

    def _write(self, arrays: Arrays) -> tuple[str, str]:
        for name, value in arrays.items():
            if np.asarray(value).dtype.hasobject:
                raise UsageError(f"array '{name}' holds Python objects; only numbers and text are stored")
        packed = io.BytesIO()
        np.savez(packed, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
        data = packed.getvalue()
        sha256 = bytes_sha256(data)
        name = f"{sha256[:32]}.npz"
        write_durably(self._folder / name, data)
        return name, sha256

    def _read(self, table: type[Bridge] | type[HeadRow], name: str, noun: str) -> dict[str, Any]:
        with self._database.read() as connection:
            row = connection.execute(select(table.__table__).where(table.name == name)).first()
            if row is None:
                raise NotFound(_unknown(connection, table, name, noun))
        path = self._folder / row.arrays
        try:
            data = path.read_bytes()
        except OSError:
            raise StoreDamaged(f"{path} is missing; fit the {noun} '{name}' again under a new name") from None
        if bytes_sha256(data) != row.arrays_sha256:
            raise StoreDamaged(f"{path} fails its checksum; fit the {noun} '{name}' again under a new name")
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {key: found[key] for key in found.files}


def _refuse_taken(connection: Connection, table: type[Bridge] | type[HeadRow], name: str, noun: str) -> None:
    if not name.strip():
        raise UsageError(f"a {noun} needs a name")
    if connection.execute(select(table.id).where(table.name == name)).first() is not None:
        raise UsageError(f"a {noun} called '{name}' is there already; choose another --name")


def _unknown(connection: Connection, table: type[Bridge] | type[HeadRow], name: str, noun: str) -> str:
    there = connection.execute(select(table.name).order_by(table.name)).scalars().all()
    return f"no {noun} is called '{name}'; there are: {', '.join(there) or 'none yet'}"


def _bridge_row(row: Any, anchors: I64, patients: tuple[str, ...]) -> BridgeRow:
    return BridgeRow(
        id=row.id,
        name=row.name,
        image_space=row.image_space,
        text_space=row.text_space,
        kind=row.kind,
        spec=row.spec,
        quality=row.quality,
        anchors_sha256=row.anchors_sha256,
        anchors=anchors,
        anchor_patients=patients,
        created=row.created,
    )


def _stored_head(row: Any) -> StoredHead:
    spec = HeadSpec(**{**row.spec, "classes": tuple(row.spec["classes"])})
    return StoredHead(id=row.id, spec=spec, details=row.details, created=row.created)
