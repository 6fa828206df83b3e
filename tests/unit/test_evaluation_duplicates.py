"""The second look: one picture in many forms, and pictures that only resemble one another."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image

from embedstore.evaluation.duplicates import NEIGHBOURS, SIDE, candidates, likeness


def small(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def same(one: np.ndarray, two: np.ndarray) -> bool:
    return bool(likeness(one[None], two[None]).same[0])


def drawing(seed: int) -> Image.Image:
    """A body with ribs and texture; seeds differ as patients do."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:300, 0:260] / 150 - 1
    body = 140 * np.exp(-(((x - 0.1 * rng.normal()) / 0.7) ** 2 + (y / 0.9) ** 2))
    ribs = 25 * np.sin(18 * y + 4 * x * rng.uniform(0.5, 1.5) + rng.uniform(0, 6))
    spots = Image.fromarray(rng.integers(0, 255, (24, 20)).astype(np.uint8)).resize((260, 300))
    return Image.fromarray((body + ribs + 0.35 * np.asarray(spots)).clip(0, 255).astype(np.uint8))


def as_jpeg(picture: Image.Image) -> Image.Image:
    octets = io.BytesIO()
    picture.save(octets, "JPEG", quality=40)
    return Image.open(octets)


COPIES = {
    "smaller": lambda p: p.resize((130, 150)),
    "jpeg": as_jpeg,
    "cropped": lambda p: p.crop((20, 8, 250, 280)),
    "cropped on one side": lambda p: p.crop((0, 0, 225, 300)),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brighter": lambda p: p.point(lambda v: min(255, int(20 + 0.8 * v))),
    "mirrored and cropped": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((10, 10, 250, 290)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_the_same_picture(kind):
    for seed in range(5):
        picture = drawing(seed)
        assert same(small(picture), small(COPIES[kind](picture))), seed
        assert same(small(COPIES[kind](picture)), small(picture)), seed


def test_other_pictures_are_not():
    pictures = [small(drawing(seed)) for seed in range(12)]
    for one in range(12):
        for two in range(one):
            assert not same(pictures[one], pictures[two])


def test_company_changes_no_answer():
    """Many pairs at once, of which some are given up early, are answered like each pair alone."""
    pictures = [small(drawing(seed)) for seed in range(9)]
    copies = [small(COPIES[kind](drawing(seed))) for seed, kind in enumerate(COPIES)]
    first = np.stack([picture for picture in pictures for _ in copies])
    second = np.stack([copy for _ in pictures for copy in copies])
    together = likeness(first, second)
    alone = [likeness(one[None], two[None]) for one, two in zip(first, second, strict=True)]
    np.testing.assert_allclose(together.whole, [found.whole[0] for found in alone], atol=1e-9)
    assert together.same.sum() == len(copies)
    assert together.same.tolist() == [bool(found.same[0]) for found in alone]
    assert likeness(first[:0], second[:0]).same.shape == (0,)


def test_plain_pictures_show_nothing_to_compare():
    black, white = np.zeros((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), 255, np.uint8)
    for one, two in ((black, white), (black, black), (black, small(drawing(0)))):
        assert not same(one, two)


def test_candidates_are_the_nearest_above_the_floor():
    rng = np.random.default_rng(0)
    known = rng.normal(size=(40, 8)).astype(np.float32)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    one, two, cosines = candidates(known, known[[7]])
    assert 1 <= len(one) <= NEIGHBOURS
    assert one[cosines.argmax()] == 7
    assert (two == 0).all()
    assert (cosines >= 0.75).all()
    assert candidates(known[:0], known)[0].shape == (0,)


@pytest.mark.shared_data
def test_films_of_one_patient_are_told_apart(shared_data):
    """Follow-up films of one series; copies of them in smaller and mirrored form."""
    with (shared_data / "MANIFEST.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["path"].startswith("cxr/eurorad/")]
    patient = max({row["patient_group"] for row in rows}, key=[row["patient_group"] for row in rows].count)
    films = []
    for row in rows:
        if row["patient_group"] == patient:
            with Image.open(shared_data / row["path"]) as film:
                films.append(film.convert("L"))
    films = films[:8]
    assert len(films) > 3
    for number, film in enumerate(films):
        assert same(small(film), small(COPIES["mirrored"](COPIES["smaller"](film))))
        others = [same(small(film), small(other)) for other in films[:number]]
        assert sum(others) <= 1
