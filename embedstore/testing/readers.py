"""The contract suite for readers.

Subclass in a test module, name the reader's class and give two small files; pytest collects the checks:

    class TestMyReader(ReaderContract):
        make = MyReader

        def sample(self) -> bytes:
            return a small file of the format

        def other(self) -> bytes:
            return a file with the same number of items, but other pixels or text

Each check is a plain method that asserts, so it can be called without pytest as well. Files are given as
`BytesSource`, which knows whether every stream was closed.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import Image, Intensity
from embedstore.contracts.record import Asset, Reader, Report, Skip
from embedstore.errors import ReadFailure
from embedstore.settings import Limits

Found = Asset | Report | Skip

_FOREIGN = (
    b"",
    b"\x00" * 4096,
    b"name,label\nsample.bin,7\n" * 100,
    b"The quick brown fox jumps over the lazy dog. " * 50,
    bytes(range(256)) * 16,
)


@dataclass(slots=True)
class BytesSource:
    """A file in memory. opened: the streams that were handed out."""

    data: bytes
    path: str = "/samples/sample"
    mtime_ns: int = 1
    opened: list[io.BytesIO] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def open(self) -> BinaryIO:
        """A stream whose closing is watched."""
        stream = io.BytesIO(self.data)
        self.opened.append(stream)
        return stream


class ReaderContract:
    """What every reader must do. secrets: strings in `sample` that no message may quote."""

    make: ClassVar[Callable[[Limits], Reader]]
    secrets: ClassVar[tuple[str, ...]] = ()
    wants: ClassVar[tuple[Intensity, ...]] = ("display", "raw")
    damages: ClassVar[int] = 40

    def sample(self) -> bytes:
        """A small file of the reader's format."""
        raise AssertionError("the suite needs a sample")

    def other(self) -> bytes:
        """A file with as many items as `sample`, but other pixels or text."""
        raise AssertionError("the suite needs another sample")

    @classmethod
    def checks(cls) -> dict[str, Callable[[ReaderContract], None]]:
        """The checks by name."""
        return {name: getattr(cls, name) for name in dir(cls) if name.startswith("test_")}

    def test_it_knows_its_own_files_and_no_others(self) -> None:
        """`sniff` needs at most 4,096 bytes and never raises, however short the file."""
        reader, sample = self._reader(), self.sample()
        assert reader.sniff(sample[:4096]) is True, "does not recognise its own sample"
        for foreign in _FOREIGN:
            assert reader.sniff(foreign) is False, "claims a file that is not its own"
        for length in range(0, min(len(sample), 200), 7):
            reader.sniff(sample[:length])

    def test_items_are_complete_and_stable(self) -> None:
        """Parts are unique and the same each time; assets name the reader and their size."""
        source = BytesSource(self.sample())
        found = self._items(source)
        assert [item.part for item in found] == [item.part for item in self._items(source)]
        parts = [item.part for item in found]
        assert len(set(parts)) == len(parts), "two items have one part"
        for item in found:
            assert item.source is source, "an item of another source"
            assert item.part, "an item without a part"
            if isinstance(item, Report):
                assert item.text.strip(), "an empty report"
                assert item.header.rows is None, "a report with a size in pixels"
            if isinstance(item, Asset):
                assert item.reader == self._reader().name, "an asset of another reader"
                assert (item.header.rows or 0) >= 1, "an asset without rows"
                assert (item.header.columns or 0) >= 1, "an asset without columns"

    def test_pixels_have_the_promised_form(self) -> None:
        """(H, W, 1|3) of the announced size: uint8 for display, finite float32 for raw."""
        reader, source = self._reader(), BytesSource(self.sample())
        for asset in _assets(self._items(source)):
            for want in self.wants:
                image = reader.read(asset, want)
                _check_form(image, want)
                assert image.pixels.shape[:2] == (asset.header.rows, asset.header.columns), (
                    "the pixels are not as many as the header says"
                )

    def test_reading_is_repeatable_and_hands_over_the_pixels(self) -> None:
        """A fresh reader reads what another described; changing the answer changes no later answer."""
        for asset in _assets(self._items(BytesSource(self.sample()))):
            reader = self._reader()
            first = reader.read(asset).pixels
            kept = first.copy()
            assert first.flags.writeable, "the pixels cannot be worked on"
            first[...] = 255 - first
            assert np.array_equal(reader.read(asset).pixels, kept), "the reader's own memory was handed out"

    def test_nothing_is_remembered_of_another_file(self) -> None:
        """A file that was replaced under its name is read anew."""
        reader = self._reader()
        old, new = BytesSource(self.sample()), BytesSource(self.other(), mtime_ns=2)
        before = [_content(reader, item) for item in reader.describe(old) if not isinstance(item, Skip)]
        after = [_content(reader, item) for item in reader.describe(new) if not isinstance(item, Skip)]
        truth = [_content(self._reader(), item) for item in self._items(new)]
        assert len(before) == len(after), "`other` must have as many items as `sample`"
        assert all(np.array_equal(a, t) for a, t in zip(after, truth, strict=True)), "an old answer was given"
        assert any(not np.array_equal(a, b) for a, b in zip(after, before, strict=True)), (
            "`other` must differ from `sample`, or the reader remembers the old file"
        )

    def test_limits_are_kept(self) -> None:
        """An image beyond `max_pixels`, or a report beyond `max_text_chars`, is refused."""
        tight = self._reader(Limits(max_pixels=1, max_text_chars=1))
        items = self._items(BytesSource(self.sample()))
        large = [a for a in _assets(items) if (a.header.rows or 0) * (a.header.columns or 0) > 1]
        if large:
            assert _refuses(lambda: tight.read(large[0])), "reads an image beyond the limit"
        if large or any(isinstance(item, Report) for item in items):
            assert _refuses(lambda: list(tight.describe(BytesSource(self.sample())))), (
                "describes an item beyond the limit"
            )

    def test_a_part_that_is_not_there_is_a_failure(self) -> None:
        """Not an IndexError, and not some other part."""
        for asset in _assets(self._items(BytesSource(self.sample())))[:1]:
            for part in ("no/such/part", f"{asset.part}9999999", "frame/-1", "frame/0", ""):
                stranger = Asset(source=asset.source, part=part, reader=asset.reader, header=asset.header)
                read = partial(self._reader().read, stranger)
                assert _refuses(read), f"reads part {part!r}, which the file does not have"

    def test_damage_is_a_failure_and_nothing_else(self) -> None:
        """Cut, emptied and altered files: an answer or a ReadFailure, never another error or a warning."""
        for damaged in self._damaged():
            source = BytesSource(damaged)
            with _no_warnings():
                try:
                    for item in self._items(source)[:3]:
                        _content(self._reader(), item)
                except ReadFailure as failure:
                    self._check_reason(failure.reason)

    def test_a_file_cut_in_half_is_not_taken_for_whole(self) -> None:
        """Half of the bytes cannot give all of the pixels."""
        sample = self.sample()
        source = BytesSource(sample[: len(sample) // 2])

        def read_all() -> None:
            for item in self._items(source):
                _content(self._reader(), item)

        assert _refuses(read_all), "half a file was read as if it were whole"

    def test_streams_are_closed(self) -> None:
        """Also when reading fails."""
        for data in (self.sample(), self.sample()[: len(self.sample()) // 2]):
            source = BytesSource(data)
            reader = self._reader()
            try:
                for item in list(reader.describe(source)):
                    _content(reader, item)
            except ReadFailure:
                pass
            assert source.opened, "the file was never opened"
            assert all(stream.closed for stream in source.opened), "a stream was left open"

    def _reader(self, limits: Limits | None = None) -> Reader:
        return type(self).make(limits or Limits())

    def _items(self, source: BytesSource) -> list[Asset | Report]:
        return [found for found in self._reader().describe(source) if not isinstance(found, Skip)]

    def _damaged(self) -> Iterator[bytes]:
        sample = self.sample()
        rng = np.random.default_rng(7)
        for _ in range(self.damages):
            yield sample[: int(rng.integers(1, len(sample)))]
            altered = bytearray(sample)
            for place in rng.integers(0, len(sample), 8):
                altered[int(place)] = int(rng.integers(0, 256))
            yield bytes(altered)
            start = int(rng.integers(0, len(sample)))
            yield sample[:start] + bytes(min(64, len(sample) - start)) + sample[start + 64 :]

    def _check_reason(self, reason: str) -> None:
        assert reason.strip(), "a failure without a reason"
        assert "\n" not in reason, "a reason of several lines"
        assert len(reason) < 300, "a reason that nobody reads"
        for secret in self.secrets:
            assert secret.lower() not in reason.lower(), "a reason quotes the file"


def _assets(items: list[Asset | Report]) -> list[Asset]:
    return [item for item in items if isinstance(item, Asset)]


def _content(reader: Reader, item: Found) -> NDArray[Any]:
    if isinstance(item, Asset):
        return reader.read(item).pixels
    return np.asarray(item.text if isinstance(item, Report) else item.reason)


def _check_form(image: Image, want: Intensity) -> None:
    pixels = image.pixels
    assert image.intensity == want, "another intensity than was asked for"
    assert pixels.ndim == 3, "not (H, W, C)"
    assert pixels.shape[2] in (1, 3), "neither grey nor RGB"
    assert pixels.flags.c_contiguous, "not C-contiguous"
    assert pixels.dtype == (np.uint8 if want == "display" else np.float32), "the wrong type"
    assert np.isfinite(pixels).all(), "pixels that are not finite"


def _refuses(action: Callable[[], object]) -> bool:
    try:
        action()
    except ReadFailure:
        return True
    return False


@contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
