"""Choosing the reader of a source by its first bytes, and saying why when there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

from embedstore.contracts.image import Image, Intensity
from embedstore.contracts.record import WHOLE_CUT, Asset, Cut, Reader, Report, Skip, Source
from embedstore.discovery import READERS, find_plugin, list_plugins
from embedstore.errors import ReadFailure
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.readers.unread import unread
from embedstore.readers.volume_pairs import header_of_data
from embedstore.settings import Limits

HEAD_BYTES = 4096


@runtime_checkable
class Claimant(Protocol):
    """A reader of a narrow format inside a wide one: slides among the TIFFs, say.

    When it recognises the head it is asked whether the file is its own indeed, and goes before those that
    read the wide format.
    """

    def claims(self, source: Source) -> bool:
        """Whether a file that passed `sniff` is this reader's; no pixel is decoded. May raise ReadFailure."""


@runtime_checkable
class PiecewiseReader(Protocol):
    """A reader that never holds a file, so that files beyond `Limits.max_file_bytes` can be given to it."""

    reads_pieces: bool


@runtime_checkable
class DraftReader(Protocol):
    """A reader that gives "draft" pixels by itself; those of all others are their "display" pixels."""

    drafts: bool


class ReaderSet:
    """The readers of this process, asked in alphabetical order; each recognises files by content.

    Readers that can `claims` a file are asked before the others. Files beyond `Limits.max_file_bytes` are for
    those that read them piece by piece.

    A reader plugin is a class called with `limits`. Make one set per process or worker: readers may keep the
    last file open in parsed form.
    """

    def __init__(self, readers: Mapping[str, Reader], limits: Limits = DEFAULT_LIMITS) -> None:
        self._readers = dict(readers)
        self._limits = limits

    @classmethod
    def installed(cls, limits: Limits = DEFAULT_LIMITS) -> ReaderSet:
        """Every reader that an installed package offers under the entry point group `embedstore.readers`."""
        plugins = list_plugins(READERS)
        return cls({name: plugin.load()(limits) for name, plugin in plugins.items()}, limits)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the readers."""
        return tuple(self._readers)

    def describe(self, source: Source, cut: Cut = WHOLE_CUT) -> Iterator[Asset | Report | Skip]:
        """What a source holds, from headers alone.

        A file that is no image (text, a table, a document) is one Skip. Raises ReadFailure for an empty or
        damaged file, an image format nobody reads, and a file whose suffix claims an image that it is not.
        """
        head = self._head(source)
        if header_of_data(source) is not None:  # asked first: raw voxels may begin like anything
            yield Skip(source=source, reason="voxels that belong to the header beside them, which is read")
            return
        able = [reader for reader in self._readers.values() if reader.sniff(head)]
        for reader in sorted(able, key=lambda one: not isinstance(one, Claimant)):
            if not isinstance(reader, Claimant) or reader.claims(source):
                self._refuse_to_hold(source, reader)
                yield from reader.describe(source, cut)
                return
        yield Skip(source=source, reason=unread(head, _suffix(source.path)))

    def read(self, asset: Asset, want: Intensity = "display") -> Image:
        """Decode an asset with the reader that described it. Raises ReadFailure."""
        reader = self._readers.get(asset.reader)
        if reader is None:
            reader = self._readers[asset.reader] = find_plugin(READERS, asset.reader).load()(self._limits)
        if want == "draft" and not (isinstance(reader, DraftReader) and reader.drafts):
            return replace(reader.read(asset, "display"), intensity="draft")
        return reader.read(asset, want)

    def _refuse_to_hold(self, source: Source, reader: Reader) -> None:
        most = self._limits.max_file_bytes
        if source.size > most and not (isinstance(reader, PiecewiseReader) and reader.reads_pieces):
            raise ReadFailure(f"larger than the limit of {most:,} bytes for a file that has to be held whole")

    def _head(self, source: Source) -> bytes:
        if source.size == 0:
            raise ReadFailure("empty file")
        with source.open() as stream:
            try:
                return stream.read(HEAD_BYTES)
            except OSError as error:
                raise ReadFailure(f"cannot be read: {error.strerror}") from None


def _suffix(path: str) -> str:
    name = PurePosixPath(path.replace("\\", "/"))
    return ".nii.gz" if name.name.lower().endswith(".nii.gz") else name.suffix
