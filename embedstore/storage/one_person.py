"""Patient names that mean one person: what splits, folds and intervals go by.

A name is (issuer or site)/PatientID, a table's group, or unknown/STUDY. Two names are one person when

- two sources claim one image for both (a conflict);
- one stands for the nameless objects of a study that the other is named in (PatientID is type 2, it may be
  empty: DICOM PS3.3 section C.7.1.1; a study is of one patient: section A.1.2);
- they share a PatientID and one of the two came without issuer or site, so that nothing tells them apart.

Holding two people for one only makes splits stricter; holding one for two leaks. Two names that both say
where they are from stay two, and so do two identifiers in one study.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import ColumnElement, Connection, Select, select
from sqlalchemy.orm import InstrumentedAttribute

from embedstore.storage.tables import Conflict, Item


def joined_names(connection: Connection) -> Mapping[str, str]:
    """Each patient name that is not alone to the first name of its person (union-find)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for one, other in _pairs(connection):
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {name: root(name) for name in parent}


def all_names(connection: Connection, names: Collection[str]) -> list[str]:
    """These names and every other name of the same persons."""
    joined = joined_names(connection)
    wanted = {joined.get(name, name) for name in names}
    return sorted({*names, *(name for name, root in joined.items() if root in wanted)})


def _pairs(connection: Connection) -> Iterator[tuple[str, str]]:
    """Names tied together, by each of the three rules in turn."""
    conflicts = select(Conflict.kept, Conflict.other).where(Conflict.field == "patient")
    nameless = _tied(Item.study_uid, Item.patient_known.is_(True), Item.patient_known.is_(False))
    bare = _tied(Item.patient_id, Item.patient == Item.patient_id, Item.patient != Item.patient_id)
    for query in (conflicts, nameless, bare):
        yield from ((row[0], row[1]) for row in connection.execute(query))


def _tied(
    by: InstrumentedAttribute[str | None], first: ColumnElement[bool], second: ColumnElement[bool]
) -> Select[tuple[str, str]]:
    """Names of the first kind with those of the second that share a value; made distinct before they meet."""
    one, other = (
        select(by.label("shared"), Item.patient).where(by.is_not(None), kind).distinct().subquery()
        for kind in (first, second)
    )
    return select(one.c.patient, other.c.patient).join(other, one.c.shared == other.c.shared)
