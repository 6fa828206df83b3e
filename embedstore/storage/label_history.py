"""Every vote ever cast on a label set, in order, and the same votes cast again in another store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from embedstore.storage.learned import VoteEvent
from embedstore.storage.tables import Run
from embedstore.storage.tables_learned import VoteRow
from embedstore.storage.types import clean_text, now

CODE = "code_sha256"


def vote_history(connection: Connection, set_id: int) -> list[VoteEvent]:
    """Votes of a label set, oldest first."""
    query = (
        select(VoteRow.__table__, Run.arguments)
        .join(Run, Run.id == VoteRow.run_id, isouter=True)
        .where(VoteRow.label_set_id == set_id)
        .order_by(VoteRow.id)
    )
    return [
        VoteEvent(
            item_id=row.item_id,
            value=row.value,
            voter=row.voter,
            voter_version=row.voter_version,
            probability=row.probability,
            input_sha256=row.input_sha256,
            code_sha256=_code(row.arguments, row.voter),
            created=row.created,
            superseded=row.superseded_by is not None,
        )
        for row in connection.execute(query)
    ]


def _code(arguments: Any, voter: str) -> str:
    told = (arguments or {}).get(CODE)
    return str(told.get(voter, "")) if isinstance(told, dict) else ""


def restore_votes(connection: Connection, set_id: int, events: Sequence[VoteEvent]) -> int:
    """Cast votes again as they were, oldest first, each superseding the voter's last on the item.

    What is there already with the same time and words is left out. Returns how many were written.
    """
    known = {_identity(event) for event in vote_history(connection, set_id)}
    runs: dict[tuple[str, str], int] = {}
    written = 0
    for event in events:
        if _identity(event) in known:
            continue
        vote_id = _insert(connection, set_id, event, _run(connection, runs, event))
        connection.execute(
            update(VoteRow)
            .where(
                VoteRow.label_set_id == set_id,
                VoteRow.voter == clean_text(event.voter),
                VoteRow.item_id == event.item_id,
                VoteRow.superseded_by.is_(None),
                VoteRow.id != vote_id,
            )
            .values(superseded_by=vote_id)
        )
        written += 1
    return written


def _identity(event: VoteEvent) -> tuple[Any, ...]:
    return (event.item_id, event.value, event.voter, event.voter_version, event.input_sha256, event.created)


def _run(connection: Connection, runs: dict[tuple[str, str], int], event: VoteEvent) -> int:
    """The run that stands for a voter's code in the store the votes came from."""
    key = (event.voter, event.code_sha256)
    if key not in runs:
        values = {
            "verb": "label import",
            "arguments": {CODE: {event.voter: event.code_sha256}},
            "started": now(),
            "ended": now(),
        }
        made = connection.execute(insert(Run).values(values)).inserted_primary_key
        assert made is not None
        runs[key] = int(made[0])
    return runs[key]


def _insert(connection: Connection, set_id: int, event: VoteEvent, run_id: int) -> int:
    values = {
        "item_id": event.item_id,
        "label_set_id": set_id,
        "value": event.value,
        "probability": event.probability,
        "voter": clean_text(event.voter),
        "voter_version": event.voter_version,
        "input_sha256": event.input_sha256,
        "created": event.created,
        "run_id": run_id,
    }
    made = connection.execute(insert(VoteRow).values(values)).inserted_primary_key
    assert made is not None
    return int(made[0])
