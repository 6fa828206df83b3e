"""What the holder of a key can tell: under which name a de-identified store knows a file or a patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedstore.engine.admission import gate_of
from embedstore.engine.grouping import in_groups
from embedstore.engine.workspace import Workspace
from embedstore.readers.walk import walk

_LOOKED_UP_TOGETHER = 500


@dataclass(frozen=True, slots=True)
class Resolved:
    """One file. known: whether the store has met it (as an item, a skip or a failure)."""

    path: str
    name: str
    known: bool


def resolve(workspace: Workspace, paths: Sequence[Path], key: Path) -> tuple[Resolved, ...]:
    """The stored names of all files under `paths`. Raises NotFound, BadInputFile, Refused (another key)."""
    gate = gate_of(workspace.catalog, key)
    found: list[Resolved] = []
    for group in in_groups(walk(paths, workspace.settings.limits), _LOOKED_UP_TOGETHER):
        names = [gate.name(source.path) for source in group]
        known = workspace.catalog.known_sources(names)
        found.extend(
            Resolved(source.path, name, name in known) for source, name in zip(group, names, strict=True)
        )
    return tuple(found)


def pseudonym(workspace: Workspace, number: str, issuer: str, key: Path) -> str:
    """What stands for a PatientID in the store."""
    from embedstore.privacy.deidentify import pseudonym as stand_in

    return stand_in(gate_of(workspace.catalog, key).key, issuer, number)
