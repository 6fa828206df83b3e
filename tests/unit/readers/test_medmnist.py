"""MedMNIST's npz files: rows, labels, splits; pickles refused before anything is unpickled."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest

from embedstore.errors import ReadFailure
from embedstore.readers.medmnist import MedMnistReader
from embedstore.readers.sources import FileSource
from embedstore.settings import Limits
from embedstore.testing.readers import BytesSource

GREY = np.random.default_rng(1).integers(0, 256, (5, 4, 6)).astype(np.uint8)
COLOUR = np.random.default_rng(2).integers(0, 256, (3, 4, 6, 3)).astype(np.uint8)


def npz(**arrays) -> BytesSource:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return BytesSource(out.getvalue())


def assets(source, limits=None):
    return list(MedMnistReader(limits or Limits()).describe(source))


def refusal(source, limits=None) -> str:
    with pytest.raises(ReadFailure) as caught:
        assets(source, limits)
    return caught.value.reason


def test_rows_of_every_split():
    source = npz(
        train_images=GREY,
        train_labels=np.array([[0], [1], [1], [0], [2]]),
        val_images=COLOUR,
        extra=np.eye(3),
    )
    found = assets(source)
    assert [a.part for a in found] == [f"train/{n}" for n in range(5)] + [f"val/{n}" for n in range(3)]
    assert [a.header.label for a in found] == ["0", "1", "1", "0", "2", None, None, None]
    assert {a.header.split for a in found} == {"train", "val"}
    reader = MedMnistReader()
    for number in range(5):
        assert np.array_equal(reader.read(found[number]).pixels[..., 0], GREY[number])
    for number in range(3):
        assert np.array_equal(reader.read(found[5 + number]).pixels, COLOUR[number])
    assert reader.read(found[0], "raw").pixels.dtype == np.float32


def test_images_alone():
    found = assets(npz(images=GREY, labels=np.arange(5)))
    assert [a.part for a in found] == [f"images/{n}" for n in range(5)]
    assert found[3].header.label == "3"
    assert found[3].header.split is None
    assert np.array_equal(MedMnistReader().read(found[3]).pixels[..., 0], GREY[3])


def test_several_labels_at_once():
    labels = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]])
    found = assets(npz(train_images=GREY, train_labels=labels))
    assert [a.header.label for a in found] == [None, "0;2", "1", "0;1;2", "2"]


class Loaded:
    """Unpickling it is what must not happen."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_pickles_are_refused_unopened():
    objects = np.empty(2, object)
    objects[:] = [Loaded(), Loaded()]
    for arrays in (
        {"train_images": objects},
        {"train_images": GREY, "train_labels": objects},
        {"images": GREY, "z": objects},
    ):
        assert "pickled" in refusal(npz(**arrays))
    bare = io.BytesIO()
    with zipfile.ZipFile(bare, "w") as out:
        out.writestr("images.npy", pickle.dumps(Loaded()))
    assert "damaged" in refusal(BytesSource(bare.getvalue()))


def test_the_shared_pickle(shared_data):
    source = FileSource.of(shared_data / "broken" / "made" / "pickled_object.npz")
    assert "pickled" in refusal(source)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": GREY}, "no array called images"),
        ({"images": GREY.astype(np.float32)}, "unsigned 8-bit"),
        ({"images": GREY[0]}, "not (n, height, width)"),
        ({"images": np.zeros((2, 3, 4, 5), np.uint8)}, "not (n, height, width)"),
        ({"images": np.zeros((2, 0, 4), np.uint8)}, "no pixels"),
        ({"images": np.zeros((0, 3, 4), np.uint8)}, "holds no images"),
        ({"images": GREY, "labels": np.arange(4)}, "do not fit"),
        ({"images": GREY, "labels": np.zeros((5, 2, 2), int)}, "do not fit"),
    ],
)
def test_what_is_refused(arrays, reason):
    assert reason in refusal(npz(**arrays))


def test_limits_are_checked_on_the_promise():
    assert "limit" in refusal(npz(images=GREY), Limits(max_pixels=23))
    assert "limit" in refusal(npz(images=GREY), Limits(max_members=4))
    assert "limit" in refusal(npz(images=GREY), Limits(max_file_bytes=119))


def test_a_header_that_promises_more_than_there_is():
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": "|u1", "fortran_order": False, "shape": (60_000, 60_000, 9)}
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("images.npy", out.getvalue() + bytes(100))
    assert "shorter than its header promises" in refusal(BytesSource(packed.getvalue()))


def test_rows_in_column_order_are_the_same():
    found = assets(npz(images=np.asfortranarray(GREY)))
    assert np.array_equal(MedMnistReader().read(found[2]).pixels[..., 0], GREY[2])


def test_the_shared_collection_opens_once(shared_data):
    """5,232 rows from one file: the array is unpacked once."""
    source = FileSource.of(shared_data / "medmnist" / "pneumoniamnist_trainval.npz")
    found = assets(source)
    assert len(found) == 5232
    labels = [a.header.label for a in found if a.header.split == "train"]
    assert (labels.count("0"), labels.count("1")) == (1214, 3494)
    with np.load(source.path) as truth:
        train = truth["train_images"]
    counted = BytesSource(source.location.read_bytes())
    reader = MedMnistReader()
    for number, asset in enumerate(list(reader.describe(counted))[:500]):
        assert np.array_equal(reader.read(asset).pixels[..., 0], train[number])
    assert len(counted.opened) == 2
