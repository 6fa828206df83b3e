"""Label sets, votes and fused labels in SQL. A vote is never overwritten: a newer one supersedes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
from sqlalchemy import Connection, and_, bindparam, insert, select, update

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import ABSTAIN, LabelSet, Vote
from embedstore.errors import NotFound, Refused, did_you_mean
from embedstore.storage.database import Database
from embedstore.storage.label_history import restore_votes, vote_history
from embedstore.storage.learned import LabelModelRow, NewLabelModel, VoteEvent, VoteTable
from embedstore.storage.tables_learned import FusedLabel, LabelModel, LabelSetRow, VoteRow
from embedstore.storage.types import clean_text, now

_TOGETHER = 500
Writing = Callable[[], AbstractContextManager[object]]


class Labels:
    """`catalog.labels`. writing: takes the store's writer lease, re-entrant."""

    def __init__(self, database: Database, writing: Writing) -> None:
        self._database = database
        self._writing = writing

    def ensure_label_set(self, label_set: LabelSet) -> None:
        """Record a label set. Raises Refused when its name stands for other classes already."""
        with self._writing(), self._database.write() as connection:
            known = _find_set(connection, label_set.name)
            if known is None:
                values = {"name": clean_text(label_set.name), "classes": list(label_set.classes)}
                connection.execute(insert(LabelSetRow).values(values))
            elif tuple(known[1].classes) != tuple(label_set.classes):
                raise Refused(
                    f"label set '{label_set.name}' has the classes {', '.join(known[1].classes)} here, "
                    f"not {', '.join(label_set.classes)}; choose another name for it"
                )

    def label_sets(self) -> list[LabelSet]:
        """All label sets by name."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(LabelSetRow.name, LabelSetRow.classes).order_by(LabelSetRow.name)
            )
            return [LabelSet(name=row.name, classes=tuple(row.classes)) for row in rows]

    def label_set(self, name: str) -> LabelSet:
        """Raises NotFound with the names there are."""
        with self._database.read() as connection:
            return self._known_set(connection, name)[1]

    def _known_set(self, connection: Connection, name: str) -> tuple[int, LabelSet]:
        found = _find_set(connection, name)
        if found is None:
            there = connection.execute(select(LabelSetRow.name).order_by(LabelSetRow.name)).scalars().all()
            hint = did_you_mean(name, there)
            raise NotFound(
                f"no label set is called '{name}'; {hint}there are: {', '.join(there) or 'none yet'}"
            )
        return found

    def save_votes(self, votes: Sequence[Vote], run_id: int | None = None) -> int:
        """Record votes; returns how many are new.

        A vote that repeats the voter's active one on the same item is not written again; a different one
        supersedes it.
        """
        saved = 0
        with self._writing(), self._database.write() as connection:
            by_voter: dict[tuple[str, str], list[Vote]] = {}
            for vote in votes:
                by_voter.setdefault((vote.label_set, vote.voter), []).append(vote)
            for (label_set, voter), cast in by_voter.items():
                set_id = self._known_set(connection, label_set)[0]
                for first in range(0, len(cast), _TOGETHER):
                    saved += _save(connection, set_id, voter, cast[first : first + _TOGETHER], run_id)
        return saved

    def votes(self, label_set: str, item_ids: I64 | None = None) -> VoteTable:
        """Active votes as a matrix, of all voted items or of those named (the ones among them with votes)."""
        with self._database.read() as connection:
            set_id = self._known_set(connection, label_set)[0]
            columns = (
                VoteRow.item_id,
                VoteRow.voter,
                VoteRow.voter_version,
                VoteRow.value,
                VoteRow.probability,
            )
            chosen = and_(VoteRow.label_set_id == set_id, VoteRow.superseded_by.is_(None))
            rows = connection.execute(select(*columns).where(chosen).order_by(VoteRow.id)).all()
        wanted = None if item_ids is None else set(item_ids.tolist())
        rows = [row for row in rows if wanted is None or row.item_id in wanted]
        voters = tuple(dict.fromkeys(row.voter for row in rows))
        latest = {row.voter: row.voter_version for row in rows}
        items = np.unique(np.array([row.item_id for row in rows], np.int64))
        at_item = {int(item): n for n, item in enumerate(items)}
        at_voter = {voter: n for n, voter in enumerate(voters)}
        values = np.full((len(items), len(voters)), ABSTAIN, np.int64)
        probabilities = np.full((len(items), len(voters)), np.nan, np.float32)
        looked = np.zeros((len(items), len(voters)), bool)
        for row in rows:
            place = at_item[row.item_id], at_voter[row.voter]
            values[place] = row.value
            looked[place] = True
            if row.probability is not None:
                probabilities[place] = row.probability
        versions = tuple(latest[voter] for voter in voters)
        return VoteTable(items, voters, versions, values, probabilities, looked)

    def history(self, label_set: str) -> list[VoteEvent]:
        """Every vote ever cast on a label set, superseded ones too, oldest first."""
        with self._database.read() as connection:
            return vote_history(connection, self._known_set(connection, label_set)[0])

    def restore(self, label_set: str, events: Sequence[VoteEvent]) -> int:
        """Cast votes of another store again, with their times; returns how many were not here yet."""
        with self._writing(), self._database.write() as connection:
            return restore_votes(connection, self._known_set(connection, label_set)[0], events)

    def count_votes(self) -> int:
        """Active votes that are no abstentions, over all label sets."""
        from sqlalchemy import func

        chosen = and_(VoteRow.superseded_by.is_(None), VoteRow.value != ABSTAIN)
        with self._database.read() as connection:
            return int(
                connection.execute(select(func.count()).select_from(VoteRow).where(chosen)).scalar_one()
            )

    def save_label_model(self, model: NewLabelModel) -> int:
        """Record fused labels; earlier models stay. Returns the model's id."""
        with self._writing(), self._database.write() as connection:
            set_id = self._known_set(connection, model.label_set)[0]
            values = {
                "label_set_id": set_id,
                "kind": model.kind,
                "params": dict(model.params),
                "created": now(),
            }
            inserted = connection.execute(insert(LabelModel).values(values)).inserted_primary_key
            assert inserted is not None
            rows = [
                {
                    "model_id": inserted[0],
                    "item_id": int(item),
                    "probabilities": [float(p) for p in model.probabilities[n]],
                    "majority": int(model.majority[n]),
                    "label": int(model.labels[n]),
                }
                for n, item in enumerate(model.items)
            ]
            if rows:
                connection.execute(insert(FusedLabel), rows)
            return int(inserted[0])

    def label_model(self, label_set: str, model_id: int | None = None) -> LabelModelRow:
        """The newest label model of a set, or the one named. Raises NotFound."""
        with self._database.read() as connection:
            set_id, found = self._known_set(connection, label_set)
            query = select(LabelModel.__table__).where(LabelModel.label_set_id == set_id)
            if model_id is not None:
                query = query.where(LabelModel.id == model_id)
            row = connection.execute(query.order_by(LabelModel.id.desc()).limit(1)).first()
            if row is None:
                raise NotFound(
                    f"'{label_set}' has no label model yet; run: embedstore label model {label_set}"
                )
            fused = connection.execute(
                select(FusedLabel.item_id, FusedLabel.probabilities, FusedLabel.majority, FusedLabel.label)
                .where(FusedLabel.model_id == row.id)
                .order_by(FusedLabel.item_id)
            ).all()
        shape = (len(fused), len(found.classes))
        probabilities: F32 = np.array([f.probabilities for f in fused], np.float32).reshape(shape)
        return LabelModelRow(
            id=row.id,
            label_set=label_set,
            classes=found.classes,
            kind=row.kind,
            params=row.params,
            items=np.array([f.item_id for f in fused], np.int64),
            probabilities=probabilities,
            majority=np.array([f.majority for f in fused], np.int64),
            labels=np.array([f.label for f in fused], np.int64),
            created=row.created,
        )


def _find_set(connection: Connection, name: str) -> tuple[int, LabelSet] | None:
    row = connection.execute(select(LabelSetRow.__table__).where(LabelSetRow.name == name)).first()
    return None if row is None else (int(row.id), LabelSet(name=row.name, classes=tuple(row.classes)))


def _save(connection: Connection, set_id: int, voter: str, cast: Sequence[Vote], run_id: int | None) -> int:
    active = _active(connection, set_id, voter, [vote.item_id for vote in cast])
    fresh = {vote.item_id: vote for vote in cast if active.get(vote.item_id, (0, None))[1] != _said(vote)}
    if not fresh:
        return 0
    created = now()
    rows = [
        {
            "item_id": vote.item_id,
            "label_set_id": set_id,
            "value": vote.value,
            "probability": vote.probability,
            "voter": clean_text(voter),
            "voter_version": vote.voter_version,
            "input_sha256": vote.input_sha256,
            "created": created,
            "run_id": run_id,
        }
        for vote in fresh.values()
    ]
    connection.execute(insert(VoteRow), rows)
    # The newest row of each item is the one just written: what it replaces points at it.
    replaced = [(item, active[item][0]) for item in fresh if item in active]
    if replaced:
        newest = _newest(connection, set_id, voter, [item for item, _ in replaced])
        connection.execute(
            update(VoteRow).where(VoteRow.id == bindparam("old")).values(superseded_by=bindparam("new")),
            [{"old": old, "new": newest[item]} for item, old in replaced],
        )
    return len(fresh)


def _said(vote: Vote) -> tuple[int, float | None, str, str]:
    return (vote.value, vote.probability, vote.voter_version, vote.input_sha256)


def _active(
    connection: Connection, set_id: int, voter: str, items: list[int]
) -> dict[int, tuple[int, tuple[int, float | None, str, str]]]:
    rows = connection.execute(
        select(VoteRow.__table__).where(
            VoteRow.label_set_id == set_id,
            VoteRow.voter == voter,
            VoteRow.item_id.in_(items),
            VoteRow.superseded_by.is_(None),
        )
    )
    return {
        row.item_id: (row.id, (row.value, row.probability, row.voter_version, row.input_sha256))
        for row in rows
    }


def _newest(connection: Connection, set_id: int, voter: str, items: list[int]) -> dict[int, int]:
    rows = connection.execute(
        select(VoteRow.item_id, VoteRow.id)
        .where(VoteRow.label_set_id == set_id, VoteRow.voter == voter, VoteRow.item_id.in_(items))
        .order_by(VoteRow.id)
    )
    return {row.item_id: row.id for row in rows}
