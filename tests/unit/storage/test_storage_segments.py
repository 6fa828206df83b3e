"""Segments: what was appended is read back bit for bit, and a damaged byte is never used."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embedstore.errors import StorageFull, StoreDamaged
from embedstore.storage import segments
from embedstore.storage.segments import HEADER_BYTES, BlockState, SegmentReader, SegmentState, append

SPACE = "f" * 64
DIM = 3


def state(rows: int = 0, fresh: bool = False) -> SegmentState:
    return SegmentState("s.f32", SPACE, DIM, rows, fresh)


def written(folder: Path, *sizes: int) -> tuple[np.ndarray, list[BlockState]]:
    rng = np.random.default_rng(1)
    blocks, parts = [], []
    for size in sizes:
        part = rng.normal(size=(size, DIM)).astype(np.float32)
        blocks.append(append(folder, state(sum(map(len, parts)), fresh=not parts), part))
        parts.append(part)
    return np.concatenate(parts), blocks


FLOATS = st.floats(width=32, allow_nan=False)
BLOCKS = st.lists(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(DIM)), elements=FLOATS),
    min_size=1,
    max_size=5,
)


@given(parts=BLOCKS, garbage=st.binary(max_size=40), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_rows_come_back_bit_for_bit_whatever_an_interrupted_writer_left(
    tmp_path: Path, parts: list[np.ndarray], garbage: bytes, data: st.DataObject
) -> None:
    blocks: list[BlockState] = []
    rows = 0
    for part in parts:
        blocks.append(append(tmp_path, state(rows, fresh=rows == 0), part))
        rows += len(part)
        with (tmp_path / "s.f32").open("ab") as stream:
            stream.write(garbage)
    assert [(b.first_row, b.n_rows) for b in blocks] == [
        (sum(map(len, parts[:n])), len(part)) for n, part in enumerate(parts)
    ]
    assert [b.crc32 for b in blocks] == [zlib.crc32(part.tobytes()) for part in parts]
    reader = SegmentReader(tmp_path, state(rows), blocks)
    wanted = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=10)), np.int64)
    np.testing.assert_array_equal(reader.vectors(wanted), np.concatenate(parts)[wanted])
    assert reader.damaged_blocks() == []


def test_every_flipped_byte_is_noticed_before_use(tmp_path: Path) -> None:
    vectors, blocks = written(tmp_path, 2, 3)
    path = tmp_path / "s.f32"
    whole = path.read_bytes()
    for offset in range(len(whole)):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x01
        path.write_bytes(damaged)
        with pytest.raises(StoreDamaged, match=r"s\.f32"):
            SegmentReader(tmp_path, state(5), blocks).vectors(np.arange(5))
    path.write_bytes(whole)
    np.testing.assert_array_equal(SegmentReader(tmp_path, state(5), blocks).vectors(np.arange(5)), vectors)


def test_a_damaged_block_does_not_stop_the_sound_ones(tmp_path: Path) -> None:
    vectors, blocks = written(tmp_path, 2, 3)
    path = tmp_path / "s.f32"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 0x80
    path.write_bytes(damaged)
    reader = SegmentReader(tmp_path, state(5), blocks)
    np.testing.assert_array_equal(reader.vectors(np.array([1, 0])), vectors[[1, 0]])
    with pytest.raises(StoreDamaged, match="rows 2 to 4"):
        reader.vectors(np.array([3]))
    assert reader.damaged_blocks() == [blocks[1]]


def test_a_shortened_or_missing_file_is_damage_for_reader_and_writer(tmp_path: Path) -> None:
    _, blocks = written(tmp_path, 4)
    path = tmp_path / "s.f32"
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(StoreDamaged, match="shorter"):
        SegmentReader(tmp_path, state(4), blocks)
    with pytest.raises(StoreDamaged, match="shorter"):
        append(tmp_path, state(4), np.ones((1, DIM), np.float32))
    path.unlink()
    with pytest.raises(StoreDamaged, match=r"s\.f32 cannot be read"):
        SegmentReader(tmp_path, state(4), blocks)
    with pytest.raises(StoreDamaged, match=r"s\.f32 is missing"):
        append(tmp_path, state(4), np.ones((1, DIM), np.float32))


def test_another_spaces_segment_is_refused(tmp_path: Path) -> None:
    _, blocks = written(tmp_path, 1)
    for other in (SegmentState("s.f32", "e" * 64, DIM, 1), SegmentState("s.f32", SPACE, 1, 1)):
        with pytest.raises(StoreDamaged, match="header"):
            SegmentReader(tmp_path, other, blocks)


def test_the_header_is_the_documented_layout(tmp_path: Path) -> None:
    vectors, _ = written(tmp_path, 2)
    data = (tmp_path / "s.f32").read_bytes()
    assert data[:8] == b"EMBSEG\r\n"
    assert np.frombuffer(data[8:16], "<u4").tolist() == [1, DIM]
    assert data[16:80] == SPACE.encode()
    assert int.from_bytes(data[124:128], "little") == zlib.crc32(data[:124])
    np.testing.assert_array_equal(np.frombuffer(data[HEADER_BYTES:], "<f4").reshape(2, DIM), vectors)


def test_a_full_disk_leaves_the_committed_rows_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, blocks = written(tmp_path, 2)
    real = os.pwrite

    def nearly_full(handle: int, raw: memoryview, offset: int) -> int:
        if offset > HEADER_BYTES + 2 * DIM * 4:
            raise OSError(28, "No space left on device")
        return real(handle, raw[:4], offset)

    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "pwrite", nearly_full)
        with pytest.raises(StorageFull, match="no space left"):
            append(tmp_path, state(2), np.ones((3, DIM), np.float32))
    assert (tmp_path / "s.f32").stat().st_size == HEADER_BYTES + 2 * DIM * 4
    np.testing.assert_array_equal(SegmentReader(tmp_path, state(2), blocks).vectors(np.arange(2)), vectors)
