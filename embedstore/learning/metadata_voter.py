"""A voter that looks a metadata value up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embedstore.contracts.labels import ABSTAIN, LabelBatch, LabelSet, Votes
from embedstore.errors import UsageError
from embedstore.fingerprint import digest

_VERSION_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataVoter:
    """Votes by looking a metadata value up.

    column: as in a filter, `attr.NAME` for further attributes. lookup: value to class name, compared as
    text without regard to case. default: class for any other value, None to abstain; no value abstains.
    """

    label_set: LabelSet
    column: str
    lookup: Mapping[str, str]
    name: str = "metadata"
    default: str | None = None
    needs: frozenset[str] = field(default=frozenset({"metadata"}))

    def __post_init__(self) -> None:
        for said in (*self.lookup.values(), *([self.default] if self.default else [])):
            if said not in self.label_set.classes:
                known = ", ".join(self.label_set.classes)
                raise UsageError(
                    f"voter '{self.name}': '{said}' is not a class of {self.label_set.name} ({known})"
                )

    @property
    def version(self) -> str:
        """Changes with the column and the table."""
        return digest([self.column, dict(self.lookup), self.default])[:_VERSION_DIGITS]

    def __call__(self, batch: LabelBatch) -> Votes:
        """(n,) class indices, -1 where the value is missing or not in the table."""
        index = {name: number for number, name in enumerate(self.label_set.classes)}
        table = {_plain(value): index[said] for value, said in self.lookup.items()}
        other = index[self.default] if self.default else ABSTAIN
        bare = self.column.removeprefix("attr.")
        votes = np.full(len(batch.columns), ABSTAIN, dtype=np.int64)
        for row, columns in enumerate(batch.columns):
            value = columns.get(self.column, columns.get(bare))
            if value is not None and value != "":
                votes[row] = table.get(_plain(value), other)
        return votes

    def probabilities(self, batch: LabelBatch) -> None:
        """None: a table does not know how sure it is."""
        return


def _plain(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()
