"""Seeing and keeping a store: its status, its soundness, its indexes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedstore.engine.requests import Finding, Progress, Status
from embedstore.engine.wholes import derive, pooling_of
from embedstore.engine.workspace import Workspace
from embedstore.errors import StoreDamaged
from embedstore.storage.migrate import current_revision
from embedstore.storage.verify import verify as verify_truth
from embedstore.storage.wholes import WHOLE_KIND


def status(workspace: Workspace) -> Status:
    """A store at a glance."""
    catalog = workspace.catalog
    counts = catalog.counts()
    spaces = tuple(
        {
            "fingerprint": space.fingerprint,
            "encoder": space.encoder,
            "kinds": list(space.kinds),
            "dim": space.dim,
            "vectors": counts.vectors.get(space.fingerprint, 0),
            "pooling": pooling_of(space).text if WHOLE_KIND in space.kinds else None,
            "indexes": workspace.indexes.names(space),
            "check": workspace.check_of(space),
        }
        for space in catalog.spaces()
    )
    return Status(
        path=str(catalog.folder.path),
        schema=current_revision(catalog.database),
        images=counts.images,
        reports=counts.reports,
        regions=counts.regions,
        patients=counts.patients,
        unknown_patients=counts.unknown_patients,
        sources=counts.sources,
        failures=counts.failures,
        skips=counts.skips,
        conflicts=counts.conflicts,
        votes=catalog.labels.count_votes(),
        bridges=tuple(row.name for row in catalog.models.bridges()),
        heads=tuple(row.spec.name for row in catalog.models.heads()),
        spaces=spaces,
        bytes_on_disk=_bytes_below(catalog.folder.path),
    )


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # a file of another process that was renamed meanwhile
    return total


def verify(workspace: Workspace) -> tuple[Finding, ...]:
    """Every checksum, the log against the vectors, every index snapshot against the log; () when sound."""
    found = [
        Finding(
            what=finding.what,
            file=finding.file,
            detail=finding.detail,
            remedy=_remedy(finding.what, finding.file),
        )
        for finding in verify_truth(workspace.catalog)
    ]
    for space in workspace.catalog.spaces():
        for name in workspace.indexes.names(space):
            try:
                workspace.indexes.check(space, name)
            except StoreDamaged as damage:
                folder = str(workspace.indexes.folder(space, name))
                found.append(
                    Finding(what="index", file=folder, detail=str(damage), remedy="run: embedstore reindex")
                )
    return tuple(found)


def _remedy(what: str, file: str) -> str:
    if "segments" in file:
        return "restore this file from a backup, or ingest the images again into a new store"
    if what == "wholes":
        return "run: embedstore reindex"
    if "arrays" in file:
        return "fit the bridge or head again under a new name"
    return "restore the store from a backup"


def reindex(workspace: Workspace, progress: Progress) -> tuple[Mapping[str, Any], ...]:
    """Bring wholes up to their parts, then rebuild every index from the stored vectors."""
    done: list[Mapping[str, Any]] = []
    for base in workspace.spaces_of("image"):
        derive(workspace, base)
    for space in workspace.catalog.spaces():
        for name in sorted({*workspace.indexes.names(space), "faiss"}):
            progress("indexing", len(done), None)
            index = workspace.indexes.rebuild(space, name)
            done.append(
                {"space": space.fingerprint, "encoder": space.encoder, "index": name, "vectors": len(index)}
            )
    return tuple(done)
