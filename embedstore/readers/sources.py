"""Sources: bytes that have a name, as files or as members of a zip archive."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from embedstore.contracts.record import Source
from embedstore.errors import NotFound, ReadFailure
from embedstore.settings import Limits

MEMBER_MARK = "!/"
DEFAULT_LIMITS = Limits()
_SPOOL_BYTES = 64 << 20
_PIECE = 1 << 20
_LOCAL_HEADER = b"PK\x03\x04"
_ENCRYPTED = 0x1
_UNIX = 3  # "version made by" of archives that hold the mode of a file (APPNOTE 4.4.2)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True, slots=True)
class FileSource:
    """A regular file. size and mtime_ns are what the file system said when the source was made."""

    location: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileSource:
        """Look the file up; raises ReadFailure when it has vanished or may not be looked at."""
        place = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would replace links by their targets
        try:
            found = place.stat()
        except OSError as error:
            raise ReadFailure(reason_of(error)) from None
        return cls(place, found.st_size, found.st_mtime_ns)

    @property
    def path(self) -> str:
        """Absolute path."""
        return str(self.location)

    def open(self) -> BinaryIO:
        """A seekable binary stream; raises ReadFailure."""
        try:
            return self.location.open("rb")
        except OSError as error:
            raise ReadFailure(reason_of(error)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipMember:
    """A member of a zip archive, found by its offset so that opening one does not read the directory again.

    size: bytes when unpacked. packed: bytes in the archive. method: 0 stored, 8 deflated (APPNOTE 4.4.5).
    refused: why it may not be read, "" when it may.
    """

    archive: Path
    name: str
    size: int
    mtime_ns: int
    offset: int
    packed: int
    method: int
    flags: int
    crc: int
    limits: Limits = DEFAULT_LIMITS
    refused: str = ""

    @classmethod
    def of(cls, archive: Path, info: zipfile.ZipInfo, mtime_ns: int, limits: Limits) -> ZipMember:
        """From an entry of the archive's directory."""
        return cls(
            archive=archive,
            name=info.filename,
            size=info.file_size,
            mtime_ns=mtime_ns,
            offset=info.header_offset,
            packed=info.compress_size,
            method=info.compress_type,
            flags=info.flag_bits,
            crc=info.CRC,
            limits=limits,
            refused=_refusal(info),
        )

    @property
    def path(self) -> str:
        """`ARCHIVE!/MEMBER`."""
        return f"{self.archive}{MEMBER_MARK}{self.name}"

    def open(self) -> BinaryIO:
        """The unpacked bytes in memory or, when large, in a temporary file; checked against their CRC."""
        if self.refused:
            raise ReadFailure(self.refused)
        if self.flags & _ENCRYPTED:
            raise ReadFailure("the archive member is encrypted")
        if self.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ReadFailure("the archive member is packed with an unsupported method; unpack it first")
        if self.size > self.limits.max_file_bytes:
            raise ReadFailure(f"larger than the limit of {self.limits.max_file_bytes:,} bytes")
        out = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - handed to the caller
        try:
            with self.archive.open("rb") as packed:
                self._unpack(packed, cast(IO[bytes], out))
        except (OSError, zlib.error):
            out.close()
            raise ReadFailure("the archive member cannot be unpacked; the archive is damaged") from None
        except ReadFailure:
            out.close()
            raise
        out.seek(0)
        return cast(BinaryIO, out)

    def _unpack(self, packed: BinaryIO, out: IO[bytes]) -> None:
        packed.seek(self.offset)
        local = packed.read(30)
        if len(local) < 30 or local[:4] != _LOCAL_HEADER:
            raise ReadFailure("the archive has changed or is damaged")
        name, extra = struct.unpack("<HH", local[26:30])
        packed.seek(name + extra, io.SEEK_CUR)
        written, crc = 0, 0
        for data in self._inflated(packed):
            written += len(data)
            crc = zlib.crc32(data, crc)
            if written > self.size:
                break  # the archive's directory lies about the size
            out.write(data)
        if written != self.size or crc != self.crc:
            raise ReadFailure("the archive member does not match its checksum; the archive is damaged")

    def _inflated(self, packed: BinaryIO) -> Iterator[bytes]:
        """Unpacked bytes in pieces of at most 1 MiB."""
        inflate = zlib.decompressobj(-zlib.MAX_WBITS) if self.method == zipfile.ZIP_DEFLATED else None
        left = self.packed
        while left > 0 and (chunk := packed.read(min(left, _PIECE))):
            left -= len(chunk)
            while inflate is not None and chunk:
                yield inflate.decompress(chunk, _PIECE)
                chunk = inflate.unconsumed_tail
            if inflate is None:
                yield chunk


def reason_of(error: OSError) -> str:
    """One line for a file that the operating system would not give."""
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, FileNotFoundError):
        return "the file does not exist (any more)"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    return f"cannot be read: {error.strerror or type(error).__name__}"


def source_at(path: str, limits: Limits = DEFAULT_LIMITS) -> Source:
    """The source that a stored path names, `ARCHIVE!/MEMBER` included; the opposite of `Source.path`.

    Raises NotFound when the file or the member is gone, ReadFailure when the archive cannot be read.
    """
    plain = Path(path)
    if plain.exists() or MEMBER_MARK not in path:
        if not plain.is_file():
            raise NotFound(f"{path}: the file does not exist (any more)")
        return FileSource.of(plain)
    for archive, name in _splits(path):
        if archive.is_file():
            for member in members(archive, limits):
                if member.name == name:
                    return member
    raise NotFound(f"{path}: the archive or its member does not exist (any more)")


def _refusal(info: zipfile.ZipInfo) -> str:
    """Why an entry is none that an honest archive of images has, "" for one that is.

    Nothing is ever unpacked to where a name points; but whoever writes such names means harm, and a link
    holds the name of a file and no image.
    """
    parts = info.filename.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or _DRIVE.match(info.filename):
        return "the archive member's name leads out of the archive; refused"
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    return "the archive member is a link, not a file; refused" if stat.S_ISLNK(mode) else ""


def _splits(path: str) -> Iterator[tuple[Path, str]]:
    at = path.find(MEMBER_MARK)
    while at >= 0:
        yield Path(path[:at]), path[at + len(MEMBER_MARK) :]
        at = path.find(MEMBER_MARK, at + 1)


def members(archive: Path, limits: Limits) -> list[ZipMember]:
    """The files in a zip archive, sorted by name; of two with one name the last, as unzip does.

    Raises ReadFailure for a damaged archive or one with more members than `limits.max_members`.
    """
    try:
        mtime_ns = archive.stat().st_mtime_ns
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
    except OSError as error:
        raise ReadFailure(reason_of(error)) from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, UnicodeDecodeError):
        raise ReadFailure("the zip archive is damaged or incomplete") from None
    if len(infos) > limits.max_members:
        raise ReadFailure(
            f"the archive has {len(infos):,} members, more than the limit of {limits.max_members:,}"
        )
    by_name = {info.filename: info for info in infos}
    return [ZipMember.of(archive, info, mtime_ns, limits) for _, info in sorted(by_name.items())]
