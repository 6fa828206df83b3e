"""Whole slides: tiles are OpenSlide's own pixels, at the resolution that was asked for, or a question."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest

from embedstore.contracts.record import Asset, Cut, Skip
from embedstore.errors import ReadFailure
from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import FileSource
from embedstore.settings import Limits

openslide = pytest.importorskip("openslide")
tifffile = pytest.importorskip("tifffile")

SHAPE = (1536, 2048)
OWN = 0.25
SIDE = 160
PERIOD = 64  # of a grating, in pixels of level 0
PINK = (200.0, 90.0, 150.0)


def ramp() -> np.ndarray:
    """(H, W, 3): red grows to the right and green downwards."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.stack([columns * 255 / (SHAPE[1] - 1), rows * 255 / (SHAPE[0] - 1), 90 + 0 * rows], -1)


def slide(path: Path, pixels: np.ndarray, mpp: float | None = OWN, levels: int = 3) -> FileSource:
    """A tiled pyramid, each level a quarter as wide, by averaging."""
    with tifffile.TiffWriter(path) as out:
        for level in range(levels):
            step = 4**level
            rows, columns = pixels.shape[0] // step, pixels.shape[1] // step
            blocks = pixels[: rows * step, : columns * step].reshape(rows, step, columns, step, 3)
            dots = {"resolution": (1e4 / mpp / step,) * 2, "resolutionunit": "CENTIMETER"} if mpp else {}
            out.write(
                blocks.mean((1, 3)).round().astype(np.uint8), tile=(256, 256), photometric="rgb",
                subfiletype=1 if level else 0, compression="zlib", **dots,
            )  # fmt: skip
    return FileSource.of(path)


@pytest.fixture(scope="module")
def readers() -> ReaderSet:
    return ReaderSet.installed()


@pytest.fixture(scope="module")
def grating(tmp_path_factory) -> FileSource:
    columns = np.arange(SHAPE[1])
    pixels = np.full((*SHAPE, 3), PINK)
    pixels[..., 0] = 127 + 100 * np.cos(2 * np.pi * columns / PERIOD)
    return slide(tmp_path_factory.mktemp("slides") / "grating.tif", pixels)


@pytest.fixture(scope="module")
def ramped(tmp_path_factory) -> FileSource:
    return slide(tmp_path_factory.mktemp("slides") / "ramp.tif", ramp())


def tone(values: np.ndarray) -> tuple[float, float]:
    """Cycles per pixel and phase at the first pixel of the strongest oscillation."""
    window = np.hanning(len(values))
    spectrum = np.fft.rfft((values - values.mean()) * window, 256 * len(values))
    peak = int(np.abs(spectrum).argmax())
    return peak / (256 * len(values)), float(np.angle(spectrum[peak]))


def cut_into(readers: ReaderSet, source: FileSource, **cut: object) -> tuple[list[Asset], list[str]]:
    """Its tiles, and why something in it is passed over."""
    found = list(readers.describe(source, Cut(**cut)))
    skips = [f"{one.part}: {one.reason}" for one in found if isinstance(one, Skip)]
    return [one for one in found if isinstance(one, Asset)], skips


def flat(picture) -> np.ndarray:
    """RGBA on white, as OpenSlide gives it."""
    values = np.asarray(picture).astype(float)
    alpha = values[..., 3:] / 255
    return values[..., :3] * alpha + 255 * (1 - alpha)


def level_of(opened, asset: Asset) -> int:
    """The level whose pixels the tile must be, by the slide's own numbers."""
    own = float(opened.properties["openslide.mpp-x"])
    away = [abs(own * downsample / asset.header.mpp - 1) for downsample in opened.level_downsamples]
    assert min(away) < 0.01
    return int(np.argmin(away))


def far_from_openslide(readers: ReaderSet, path: Path, mpp: float, every: int = 1) -> float:
    """Largest difference of any tile from OpenSlide's own read at the same level."""
    tiles, _ = cut_into(readers, FileSource.of(path), tile=SIDE, mpp=mpp, every=every)
    assert tiles
    worst = 0.0
    with openslide.OpenSlide(path) as opened:
        for asset in tiles:
            corner = asset.header.tile_x, asset.header.tile_y
            theirs = flat(opened.read_region(corner, level_of(opened, asset), (SIDE, SIDE)))
            worst = max(worst, float(np.abs(readers.read(asset, "raw").pixels - theirs).max()))
    return worst


@pytest.mark.parametrize("mpp", [OWN, 4 * OWN, 16 * OWN])
def test_tiles_of_a_level_are_openslides_own_pixels(readers, ramped, mpp):
    assert far_from_openslide(readers, Path(ramped.path), mpp) <= 1


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "cmu_pyramid_tiled.tiff"])
@pytest.mark.shared_data
def test_tiles_of_real_slides_are_openslides_own_pixels(readers, shared_data, name):
    """0.499 microns per pixel serve 0.5: within one per cent a level is not resampled."""
    assert far_from_openslide(readers, shared_data / "wsi" / name, 0.5, every=5) <= 1


@pytest.mark.shared_data
def test_tiles_of_a_dicom_slide_are_openslides_own_pixels(readers, shared_data):
    """wsidicom and OpenSlide are two decoders of the same JPEG tiles."""
    path = shared_data / "wsi" / "CMU-1-Small-Region_dicom" / "volume_2220.dcm"
    assert far_from_openslide(readers, path, 0.5, every=5) <= 1


@pytest.mark.shared_data
def test_one_level_file_of_a_dicom_slide_has_the_tiles_and_labels_are_never_read(readers, shared_data):
    reasons = {}
    for path in sorted((shared_data / "wsi" / "CMU-1-Small-Region_dicom").iterdir()):
        tiles, skips = cut_into(readers, FileSource.of(path), mpp=2.0)
        assert bool(tiles) == (path.name == "volume_555.dcm"), path.name
        reasons[path.name] = "; ".join(skips)
    assert "may identify the patient" in reasons["label.dcm"]
    assert "overview" in reasons["overview.dcm"]
    assert "another of its files serves" in reasons["volume_2220.dcm"]


@pytest.mark.parametrize("mpp", [0.37, 0.5, 1.3, 1.9])
def test_resampled_tiles_have_the_asked_microns_per_pixel_at_the_right_place(readers, grating, mpp):
    """A grating of a known period shows by its frequency what a pixel measures, by its phase where it is."""
    side = round(110 / mpp)
    tiles, _ = cut_into(readers, grating, tile=side, mpp=mpp)
    inner = [t for t in tiles if t.header.tile_x > 0 and t.header.tile_x + 450 < SHAPE[1]]
    assert inner
    for asset in inner[:3]:
        image = readers.read(asset, "raw")
        assert image.spacing_mm == pytest.approx((mpp / 1000, mpp / 1000))
        assert asset.header.mpp == pytest.approx(mpp)
        frequency, phase = tone(image.pixels[..., 0].mean(0))
        assert PERIOD * OWN * frequency == pytest.approx(mpp, rel=0.01)
        first_centre = asset.header.tile_x + mpp / OWN / 2 - 0.5
        away = (phase / (2 * np.pi) - first_centre / PERIOD + 0.5) % 1 - 0.5
        assert abs(away * PERIOD) < 1


def test_a_slide_without_a_resolution_is_a_question_with_the_flag_that_answers_it(readers, tmp_path):
    source = slide(tmp_path / "a.tif", ramp(), mpp=None)
    with pytest.raises(ReadFailure, match=r"--assume-mpp .* --unit image"):
        cut_into(readers, source)
    tiles, _ = cut_into(readers, source, mpp=1.0, assume_mpp=OWN)
    assert all(asset.part.endswith("/assumed/0.25") for asset in tiles)
    known, _ = cut_into(readers, slide(tmp_path / "b.tif", ramp()), mpp=1.0)
    assert [asset.header.tile_x for asset in tiles] == [asset.header.tile_x for asset in known]
    pairs = zip(tiles, known, strict=True)
    assert all(np.array_equal(readers.read(a).pixels, readers.read(b).pixels) for a, b in pairs)
    (overview,), _ = cut_into(readers, source, unit="image")
    assert readers.read(overview).pixels.shape == (768, 1024, 3)


def test_a_slide_too_coarse_for_what_is_asked_says_what_can_be_had(readers, tmp_path):
    source = slide(tmp_path / "a.tif", ramp(), mpp=2.0)
    with pytest.raises(ReadFailure, match=r"too coarse for 0.5; pass --mpp 2"):
        cut_into(readers, source)


def test_only_tissue_is_kept_and_parts_know_their_place(readers, tmp_path):
    pixels = np.full((*SHAPE, 3), 244.0)
    pixels[512:1024, 1024:1536] = PINK
    pixels[512:1024:7, 1024:1536] -= 40
    source = slide(tmp_path / "a.tif", pixels)
    tiles, _ = cut_into(readers, source, tile=256, mpp=OWN)
    assert [(t.header.tile_x, t.header.tile_y) for t in tiles] == [
        (x, y) for y in (512, 768) for x in (1024, 1280)
    ]
    assert [t.header.part_number for t in tiles] == [1, 2, 3, 4]
    assert len({t.header.whole for t in tiles}) == 1
    assert all(t.header.extra["tissue"] > 0.9 for t in tiles)
    sampled, _ = cut_into(readers, source, tile=256, mpp=OWN, every=3)
    assert [(t.part, t.header.part_number) for t in sampled] == [
        (t.part, t.header.part_number) for t in tiles[::3]
    ]
    empty, skips = cut_into(readers, slide(tmp_path / "b.tif", np.full((*SHAPE, 3), 244.0)))
    assert (empty, skips) == ([], ["tile: no tissue was found on the slide"])


def test_what_is_asked_is_checked_before_anything_is_decoded(readers, ramped):
    with pytest.raises(ReadFailure, match="more than the limit"):
        cut_into(ReaderSet.installed(Limits(max_pixels=1000)), ramped)
    with pytest.raises(ReadFailure, match="pass --every 16 or a larger --mpp"):
        cut_into(ReaderSet.installed(Limits(max_members=50)), ramped, tile=64, mpp=OWN)
    with pytest.raises(ReadFailure, match="768 tiles would cover the slide"):
        cut_into(ReaderSet.installed(Limits(max_members=5)), ramped, tile=64, mpp=OWN)
    tiles, _ = cut_into(readers, ramped, tile=64, mpp=OWN)
    for part in ("tile/0.25/64/999-0", "tile/0.25/64/00-0", "tile/0/64/0-0", "frame/1", "tile/nan/64/0-0"):
        asset = Asset(source=ramped, part=part, reader="slide", header=tiles[0].header)
        with pytest.raises(ReadFailure):
            readers.read(asset)


def test_without_the_extra_the_failure_names_it(readers, ramped, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.partition(".")[0] in ("openslide", "wsidicom"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ReadFailure, match=r"install embedstore\[slides\]"):
        cut_into(readers, ramped)
