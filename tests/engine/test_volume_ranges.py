"""Ingest scales the slices of a volume alike, in whatever order and run their files come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedstore.contracts.encoder import LoadRequest
from embedstore.contracts.image import Image, ImageInput
from embedstore.encoders.reference import factory
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from tests.unit.readers.dicom_files import file_bytes
from tests.unit.readers.test_dicom_seg import slices

CHOICE = EncoderChoice(name="reference", profile="ct-volume")
SCALE = (-160.0, 240.0)


@pytest.fixture
def series(tmp_path) -> dict[Path, np.ndarray]:
    """Two volumes of six slices, in files shuffled over two folders; the third slice holds the extremes."""
    found = {}
    for volume in range(2):
        for number, ds in enumerate(slices(6)):
            hu = np.random.default_rng(10 * volume + number).integers(-50, 20 * (number + 1), (20, 26))
            if number == 2:
                hu[0, 0], hu[0, 1] = SCALE[0] + volume, SCALE[1] - volume
            ds.PixelData, ds.RescaleSlope, ds.RescaleIntercept = hu.astype(np.int16).tobytes(), 1, 0
            ds.SeriesInstanceUID, ds.SOPInstanceUID = f"1.2.3.{volume}", f"1.2.3.{volume}.{number}"
            path = tmp_path / f"{'ba'[number % 2]}" / f"{5 * number % 6} {volume}.dcm"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(file_bytes(ds))
            found[path] = hu.astype(np.float32)
    return found


def expected(path: Path, hu: np.ndarray) -> np.ndarray:
    volume = int(path.stem[-1])
    scale = SCALE[0] + volume, SCALE[1] - volume
    encoder = factory.load("reference", LoadRequest(profile="ct-volume"))
    return encoder.encode_images([ImageInput(Image(hu[..., None], "hu"), parent_range=scale)])[0]


def check(store: Store, series: dict[Path, np.ndarray]) -> None:
    catalog = store._workspace.catalog
    space = store._workspace.space("image", "reference")
    for item in store.items():
        _, vectors = catalog.item_vectors(space.id, np.array([item.id]))
        assert np.array_equal(vectors[0], expected(Path(item.path), series[Path(item.path)]))


def request(*paths: Path, **more) -> IngestRequest:
    return IngestRequest(paths=paths, encoder=CHOICE, text_encoder=CHOICE, **more)


@pytest.mark.parametrize("workers", [1, 2])
def test_files_of_two_volumes_in_two_folders(series, tmp_path, workers):
    with Store.create(tmp_path / "store") as store:
        report = store.ingest(request(tmp_path / "a", tmp_path / "b", workers=workers))
        assert (report.added, report.failed) == (12, 0)
        check(store, series)
        again = store.ingest(request(tmp_path / "a", tmp_path / "b"))
        assert (again.added, again.seen) == (0, 12)


def test_slices_that_an_earlier_run_has_stored_count(series, tmp_path):
    with Store.create(tmp_path / "store") as store:
        extremes = [path for path in series if path.parent.name == "b"]  # slices 0, 2 and 4
        assert store.ingest(request(*extremes)).added == 6
        assert store.ingest(request(tmp_path / "a")).added == 6
        check(store, series)
