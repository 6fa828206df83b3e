"""A voter that looks a metadata value up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.contracts.labels import ABSTAIN, LabelBatch, LabelSet, Votes
from embedstore.errors import BadInputFile, UsageError
from embedstore.fingerprint import digest
from embedstore.learning.votes import BINARY
from embedstore.learning.yaml_file import mapping_of, only_keys, read_mapping

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


def load_metadata_voters(path: Path) -> tuple[MetadataVoter, ...]:
    """Read voters from YAML. Raises NotFound, or BadInputFile that names the file and the voter.

    voters:
      folder label:
        label_set: effusion
        classes: [absent, present]       # optional, this is the default
        column: label
        lookup: {effusion: present, normal: absent}
        default: absent                   # optional
    """
    found = read_mapping(path)
    only_keys(found, ("voters",), str(path))
    return tuple(
        _metadata_voter(name, entry, f"{path}: voter '{name}'")
        for name, entry in mapping_of(found.get("voters"), f"{path}: 'voters'").items()
    )


def _metadata_voter(name: str, entry: Any, where: str) -> MetadataVoter:
    told = mapping_of(entry, where)
    only_keys(told, ("label_set", "classes", "column", "lookup", "default"), where)
    if missing := [key for key in ("label_set", "column", "lookup") if key not in told]:
        raise BadInputFile(f"{where}: '{missing[0]}' is missing")
    lookup = told["lookup"]
    if not isinstance(lookup, dict) or not lookup:
        raise BadInputFile(f"{where}, 'lookup': expected values and classes")
    classes = told.get("classes", list(BINARY))
    if not isinstance(classes, list) or len(classes) < 2:
        raise BadInputFile(f"{where}, 'classes': expected a list of at least two names")
    default = told.get("default")
    try:
        return MetadataVoter(
            label_set=LabelSet(name=str(told["label_set"]), classes=tuple(str(c) for c in classes)),
            column=str(told["column"]),
            lookup={str(value): str(said) for value, said in lookup.items()},
            name=name,
            default=None if default is None else str(default),
        )
    except UsageError as error:
        raise BadInputFile(f"{where}: {error}") from error
