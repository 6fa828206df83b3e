"""Walking folders, zip archives and DICOMDIR files: every file once, in a fixed order, none dropped."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedstore.contracts.record import Source
from embedstore.errors import NotFound, ReadFailure
from embedstore.readers.dicomdir import is_dicomdir, referenced_files
from embedstore.readers.sources import DEFAULT_LIMITS, FileSource, ZipMember, members, reason_of
from embedstore.settings import Limits

_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_JUNK = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", ".git", ".directory"})
_STORE_PARTS = frozenset({"store.json", "segments", "indexes", "arrays"})
_DOCUMENT_PARTS = ("[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF")


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A path that was asked for or met and is not opened at all; it is recorded as a failure.

    rightly: it is none, such as a store of embedstore among the images; it is recorded as a skip.
    """

    path: str
    reason: str
    rightly: bool = False


def walk(paths: Sequence[Path], limits: Limits = DEFAULT_LIMITS) -> Iterator[Source | Unreachable]:
    """Every file under `paths`, once, sorted within each folder.

    Folders are entered (a folder reached by two links only once), zip archives are opened by content, not
    by suffix (an .npz is a file, not an archive; neither is an office document), a DICOMDIR brings the
    files it references. Members of an archive whose names lead out of it, and links in it, are refused.
    Stores of embedstore are not entered, junk of file managers is passed over. Raises NotFound before
    anything is yielded when a path of `paths` does not exist.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise NotFound(f"{path}: no such file or folder; check the path")
    return _Walk(limits).run(paths)


class _Walk:
    """State of one walk: what was seen, and folders reached by links, which come last."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seen: set[str] = set()
        self._entered: set[tuple[int, int]] = set()
        self._linked: list[Path] = []

    def run(self, paths: Sequence[Path]) -> Iterator[Source | Unreachable]:
        for path in paths:
            yield from self._visit(Path(os.path.abspath(path)))  # noqa: PTH100 - keep links as they are named
            while self._linked:
                yield from self._folder(self._linked.pop(0))

    def _visit(self, path: Path) -> Iterator[Source | Unreachable]:
        if str(path) in self._seen or path.name in _JUNK or path.name.startswith("._"):
            return
        try:
            str(path).encode()
        except UnicodeEncodeError:
            yield Unreachable(ascii(str(path))[1:-1], "the file name is not valid UTF-8; rename it")
            return
        try:
            found = path.stat()
        except OSError as error:
            self._seen.add(str(path))
            broken = path.is_symlink() and isinstance(error, FileNotFoundError)
            yield Unreachable(str(path), "a link to nothing" if broken else reason_of(error))
            return
        if stat.S_ISDIR(found.st_mode):
            yield from self._folder(path)
        elif stat.S_ISREG(found.st_mode):
            self._seen.add(str(path))
            yield from self._file(path, found)
        else:
            self._seen.add(str(path))
            yield Unreachable(str(path), "not a regular file (a device, pipe or socket)")

    def _folder(self, folder: Path) -> Iterator[Source | Unreachable]:
        try:
            identity = folder.stat()
            if (identity.st_dev, identity.st_ino) in self._entered:
                return
            self._entered.add((identity.st_dev, identity.st_ino))
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            yield Unreachable(str(folder), f"folder: {reason_of(error)}")
            return
        if _STORE_PARTS.issubset(names):
            # The default store lies in the folder one works in, often beside the images.
            yield Unreachable(str(folder), "a store of embedstore; not entered", rightly=True)
            return
        for name in names:
            child = folder / name
            # Linked folders wait until the real ones are done, so that a file is met by its own path.
            if child.is_symlink() and child.is_dir():
                self._linked.append(child)
            else:
                yield from self._visit(child)

    def _file(self, path: Path, found: os.stat_result) -> Iterator[Source | Unreachable]:
        try:
            with path.open("rb") as stream:
                head = stream.read(4)
        except OSError as error:
            yield Unreachable(str(path), reason_of(error))
            return
        if head in _ZIP_MAGIC:
            yield from self._archive(path, found)
            return
        yield FileSource(path, found.st_size, found.st_mtime_ns)
        if is_dicomdir(path):
            yield from self._dicomdir(path)

    def _archive(self, path: Path, found: os.stat_result) -> Iterator[Source | Unreachable]:
        try:
            inside = members(path, self._limits)
        except ReadFailure as failure:
            yield Unreachable(str(path), failure.reason)
            return
        if _is_one_file(inside):
            yield FileSource(path, found.st_size, found.st_mtime_ns)
            return
        if not inside:
            yield Unreachable(str(path), "the archive is empty")
        for member in inside:
            parts = member.name.split("/")
            if any(part in _JUNK or part.startswith("._") for part in parts):
                continue
            yield Unreachable(member.path, member.refused) if member.refused else member

    def _dicomdir(self, path: Path) -> Iterator[Source | Unreachable]:
        try:
            references = referenced_files(path)
        except ReadFailure as failure:
            yield Unreachable(str(path), failure.reason)
            return
        for reference in references:
            if reference.missing is None:
                yield from self._visit(reference.path)
            elif str(reference.path) not in self._seen:
                self._seen.add(str(reference.path))
                yield Unreachable(str(reference.path), reference.missing)


def _is_one_file(inside: Sequence[ZipMember]) -> bool:
    """Whether the zip is a container format of its own: numpy's npz, an office document, a jar."""
    names = [member.name for member in inside]
    if names and all(name.endswith(".npy") for name in names):
        return True
    return any(part in names for part in _DOCUMENT_PARTS)
