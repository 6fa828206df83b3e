"""A store of small made images of known patients, embedded with the numpy reference encoder."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store

REFERENCE = EncoderChoice(name="reference")
FINDINGS = ("normal", "bright")


def draw_image(path: Path, seed: int, bright: bool = False) -> Path:
    """A noisy gradient, brighter in one corner when `bright`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (40, 36)).astype(np.int64) + np.arange(36)
    if bright:
        pixels[:20, :18] += 90
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


def ask_for(*paths: Path, **more) -> IngestRequest:
    return IngestRequest(paths=paths, encoder=REFERENCE, text_encoder=REFERENCE, **more)


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "store") as opened:
        yield opened


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Path:
    """60 images of 30 patients at 2 sites, with a table of labels and reports."""
    folder = tmp_path_factory.mktemp("cohort")
    rows = []
    for n in range(60):
        patient, bright = n // 2, (n // 2) % 3 == 0
        draw_image(folder / "images" / f"p{patient}" / f"image {n} ü.png", n, bright)
        rows.append(
            {
                "path": f"images/p{patient}/image {n} ü.png",
                "patient_id": f"P{patient}",
                "site": "A" if patient < 18 else "B",
                "modality": "CR",
                "age": 30 + patient,
                "label": FINDINGS[bright],
                "bright": int(bright),
                "report_text": f"Film {n}. " + ("There is an opacity." if bright else "No opacity. Normal."),
            }
        )
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="session")
def filled_path(cohort, tmp_path_factory) -> Path:
    """A store with the cohort, to be read or copied and never written to."""
    path = tmp_path_factory.mktemp("filled") / "store"
    with Store.create(path) as opened:
        report = opened.ingest(ask_for(cohort / "images", metadata=(cohort / "table.csv",)))
        assert report.failed == 0
    return path


@pytest.fixture
def filled(filled_path, tmp_path):
    """The cohort in a store of the test's own."""
    with Store.open(shutil.copytree(filled_path, tmp_path / "filled")) as opened:
        yield opened


@pytest.fixture(scope="session")
def draw():
    """Writes one image; see `draw_image`."""
    return draw_image


@pytest.fixture(scope="session")
def ask():
    """An ingest request with the reference encoder; see `ask_for`."""
    return ask_for
