"""DICOMDIR: the index of a DICOM medium, and the files it references (PS3.3 F, PS3.10 8)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedstore.errors import ReadFailure

_MISSING = "referenced by a DICOMDIR, but not there"
_OUTSIDE = "a DICOMDIR references a file outside its own folder; refused"


@dataclass(frozen=True, slots=True)
class Reference:
    """A file that a DICOMDIR names. missing: why it cannot be had, None when it is there."""

    path: Path
    missing: str | None = None


def is_dicomdir(path: Path) -> bool:
    """By name, which PS3.10 8.6 fixes (case is not kept by every medium), and the DICM prefix."""
    if path.name.upper() != "DICOMDIR":
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def referenced_files(path: Path) -> list[Reference]:
    """Files referenced by the directory records, in their order, each once. Raises ReadFailure."""
    from pydicom import dcmread

    from embedstore.readers.quiet import quiet_pydicom

    with quiet_pydicom():
        try:
            records = dcmread(path).get("DirectoryRecordSequence") or []
            ids = [record.get("ReferencedFileID") for record in records]
        except Exception:  # pydicom raises nearly any class on a damaged file
            raise ReadFailure("the DICOMDIR is damaged") from None
    found: dict[Path, Reference] = {}
    for file_id in ids:
        if file_id:
            components = [file_id] if isinstance(file_id, str) else [str(part) for part in file_id]
            reference = _locate(path.parent, components)
            found.setdefault(reference.path, reference)
    return list(found.values())


def _locate(folder: Path, components: list[str]) -> Reference:
    if any(part in ("", ".", "..") or "/" in part or "\x00" in part for part in components):
        return Reference(folder / "DICOMDIR" / "reference", _OUTSIDE)
    place = folder
    for part in components:
        child = place / part
        place = child if child.exists() else _other_case(place, part) or child
    return Reference(place, None if place.exists() else _MISSING)


def _other_case(folder: Path, name: str) -> Path | None:
    """Media copied through some systems change the case of names."""
    try:
        return next((child for child in sorted(folder.iterdir()) if child.name.upper() == name.upper()), None)
    except OSError:
        return None
