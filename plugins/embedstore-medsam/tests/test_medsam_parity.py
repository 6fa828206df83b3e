"""MedSAM and MedSAM2: equal to the authors' code on the parity cases, and wrong choices would be noticed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from embedstore_medsam import medsam2_factory, medsam_factory
from embedstore_medsam.model import MEDSAM
from embedstore_medsam.regions import covered_cells
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture
from torch.nn import functional

from embedstore.contracts.encoder import LoadRequest
from embedstore.contracts.image import Image, ImageInput
from embedstore.contracts.record import Cut
from embedstore.encoders.preprocess import MinMax, Normalize, Recipe, Rescale, Resize, ToRGB
from embedstore.engine.embed import EmbedRequest, embed
from embedstore.engine.requests import EncoderChoice
from embedstore.readers.regions import Box, MaskFile
from embedstore.settings import Settings

FACTORIES = {"medsam": medsam_factory, "medsam2": medsam2_factory}


def _load(case, name: str, profile: str = "default"):
    return FACTORIES[name].load(name, LoadRequest(weights=case.checkpoint, profile=profile, threads=1))


def _image(case, key: str) -> Image:
    """The case's image as a reader would hand it over to that profile."""
    if key in ("photo", "predictor"):
        return Image(case.images["photo"], "display")
    hu = case.images["slice"][..., None]
    return Image(np.maximum(hu + 1000, 0), "raw") if key == "mr" else Image(hu, "hu")


def _region(case, key: str) -> np.ndarray:
    image = case.data["profiles"][key]["image"]
    return case.make_mask(case.data["boxes"][image], list(case.images[image].shape[:2])) > 0


def _bare(tensor: np.ndarray) -> np.ndarray:
    """A network input with the whole image as its region."""
    return np.concatenate([tensor, np.ones_like(tensor[:1])])[None]


def test_medsam_network_equals_the_reference(parity):
    case = parity("medsam_tiny")
    vector = _load(case, "medsam").forward_images(_bare(case.images["net1024"]))[0]
    assert case.off("net1024/gap", vector) <= case.tolerance["vector"]


@pytest.mark.parametrize(("profile", "pooling"), [("default", "nomem"), ("default+plain", "plain")])
def test_medsam2_network_equals_the_reference(parity, profile, pooling):
    case = parity("medsam2")
    vector = _load(case, "medsam2", profile).forward_images(_bare(case.images["net512"]))[0]
    assert case.off(f"net512/gap_{pooling}", vector) <= case.tolerance["vector"]
    other = "plain" if pooling == "nomem" else "nomem"
    assert case.off(f"net512/gap_{other}", vector) > 100 * case.tolerance["vector"]


@pytest.mark.parametrize("profile", MEDSAM.profiles)
def test_medsam_equals_the_reference(parity, profile):
    case = parity("medsam_tiny")
    encoder = _load(case, "medsam", profile)
    image = _image(case, profile)
    prepared = encoder.prepare_image(ImageInput(image, roi=_region(case, profile)))
    off = case.off_in_preprocessing(profile, prepared[:3])
    assert off.max() <= case.tolerance["preprocess"]  # exactly: no grey level is off
    assert prepared[:3].mean(axis=(1, 2)) == pytest.approx(case.expected[f"{profile}/pre_mean"], abs=1e-4)
    assert np.array_equal(prepared[3, ::16, ::16] > 0, case.expected[f"{profile}/roi_cells"])
    whole, region = encoder.forward_images(np.stack([np.concatenate([prepared[:3], _ONES]), prepared]))
    assert case.off(f"{profile}/gap", whole) <= case.tolerance["vector"]
    assert case.off(f"{profile}/roi", region) <= case.tolerance["vector"]


_ONES = np.ones((1, 1024, 1024), dtype=np.float32)


@pytest.mark.parametrize(("profile", "key"), [("default", "predictor"), ("ct+plain", "ct_slice")])
def test_medsam2_equals_the_reference(parity, profile, key):
    case = parity("medsam2")
    encoder = _load(case, "medsam2", profile)
    pooling = "plain" if "plain" in profile else "nomem"
    image = _image(case, key)
    prepared = encoder.prepare_image(ImageInput(image, roi=_region(case, key)))
    assert case.off_in_preprocessing(key, prepared[:3]).max() <= case.tolerance["preprocess"]
    assert np.array_equal(prepared[3, ::16, ::16] > 0, case.expected[f"{key}/roi_cells"])
    assert (
        case.off(f"{key}/roi_{pooling}", encoder.forward_images(prepared[None])[0])
        <= case.tolerance["vector"]
    )
    whole = encoder.encode_images([ImageInput(image)])[0]
    assert case.off(f"{key}/gap_{pooling}", whole) <= case.tolerance["vector"]


def test_medsam2_slices_are_scaled_by_their_volume(parity):
    case = parity("medsam2")
    encoder = _load(case, "medsam2", "ct")
    volume = case.images["volume"]
    extremes = float(volume.min()), float(volume.max())
    inputs = [ImageInput(Image(plane[..., None], "hu"), parent_range=extremes) for plane in volume]
    prepared = np.stack([encoder.prepare_image(one)[:3] for one in inputs])
    assert case.off_in_preprocessing("ct_volume", prepared).max() <= case.tolerance["preprocess"]
    expected = case.expected["ct_volume/gap_nomem"]
    vectors = encoder.encode_images([inputs[0], inputs[5]])
    assert np.abs(vectors - expected[[0, 5]]).max() <= case.tolerance["vector"] * np.sqrt(
        np.mean(expected**2)
    )
    alone = np.stack([encoder.prepare_image(ImageInput(one.image))[:3] for one in inputs])
    assert case.off_in_preprocessing("ct_volume", alone).max() > 100 * case.tolerance["preprocess"]


def test_a_volume_file_comes_to_the_reference_vectors(parity, tmp_path):
    """Through the door a user takes; the volume's extremes are those of slices that are passed over, too."""
    case = parity("medsam2")
    volume = case.images["volume"]
    depth, rows, columns = volume.shape
    head = (
        f"ObjectType = Image\nNDims = 3\nDimSize = {columns} {rows} {depth}\nElementSpacing = 1 1 3\n"
        "Modality = MET_MOD_CT\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "ct.mha").write_bytes(head.encode() + volume.astype("<i2").tobytes())
    choice = EncoderChoice(name="medsam2", weights=case.checkpoint, profile="ct", threads=1)
    request = EmbedRequest(paths=(tmp_path / "ct.mha",), encoder=choice, cut=Cut(every=5))
    found = embed(request, Settings(reading="inline"))
    taken = list(range(0, len(volume), 5))
    assert [row.part for row in found.rows] == [f"slice/k/{k}" for k in taken]
    expected = case.expected["ct_volume/gap_nomem"]
    most = case.tolerance["vector"] * np.sqrt(np.mean(expected**2))
    assert np.abs(found.vectors - expected[taken]).max() <= most


def test_a_box_and_a_mask_file_come_to_the_reference_vector(parity, tmp_path):
    case = parity("medsam_tiny")
    x0, y0, x1, y1 = case.data["boxes"]["photo"]
    Picture.fromarray(case.images["photo"]).save(tmp_path / "photo.png")
    Picture.fromarray((_region(case, "photo") * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    choice = EncoderChoice(name="medsam", weights=case.checkpoint, threads=1)
    for region in (Box(x0, y0, x1, y1), MaskFile(str(tmp_path / "mask.png"))):
        request = EmbedRequest(paths=(tmp_path / "photo.png",), encoder=choice, region=region)
        found = embed(request, Settings(reading="inline"))
        assert case.off("photo/roi", found.vectors[0]) <= case.tolerance["vector"]


WRONG = {
    "long edge and padding": (
        Resize(size=(1024, 1024), mode="longest", library="scipy"),
        MinMax(),
        ToRGB(),
    ),
    "ImageNet mean and std": (Resize(size=(1024, 1024), library="scipy"), ToRGB(), Rescale(), Normalize()),
    "no min-max": (Resize(size=(1024, 1024), library="scipy"), ToRGB(), Rescale()),
    "Pillow's bicubic": (Resize(size=(1024, 1024)), MinMax(), ToRGB()),
    "bilinear": (Resize(size=(1024, 1024), library="scipy", interpolation="bilinear"), MinMax(), ToRGB()),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_other_preprocessing_would_be_noticed(parity, wrong):
    case = parity("medsam_tiny")
    prepared = Recipe(WRONG[wrong]).apply(ImageInput(_image(case, "photo")))
    prepared = np.pad(prepared, ((0, 0), (0, 1024 - prepared.shape[1]), (0, 1024 - prepared.shape[2])))
    off = case.off_in_preprocessing("photo", prepared)
    assert (off > case.tolerance["preprocess"]).mean() > case.tolerance["preprocess_outlier_fraction"]


def test_dropped_relative_positions_would_be_noticed(parity):
    case = parity("medsam_tiny")
    encoder = _load(case, "medsam")
    with torch.no_grad():
        for name, parameter in encoder._network.named_parameters():
            if "rel_pos" in name:
                parameter.zero_()
    vector = encoder.forward_images(_bare(case.images["net1024"]))[0]
    assert case.off("net1024/gap", vector) > 10 * case.tolerance["vector"]


@pytest.mark.parametrize("transform", [np.transpose, np.flipud])
def test_a_region_in_the_wrong_place_would_be_noticed(parity, transform):
    case = parity("medsam_tiny")
    cells = covered_cells(transform(_region(case, "ct")), 64)
    assert (cells != case.expected["ct/roi_cells"]).sum() > 50


# The rule for regions


@given(st.integers(20, 90), st.integers(20, 90), st.data())
def test_regions_cover_the_cells_that_torch_finds(height, width, data):
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    roi = np.zeros((height, width), dtype=bool)
    roi[top:bottom, left:right] = True
    mask = torch.from_numpy(roi.astype(np.float64))[None, None]
    found = functional.interpolate(mask, size=(32, 32), mode="bilinear", align_corners=False)[0, 0] > 1e-9
    cells = covered_cells(roi, 32)
    if found.any():
        assert np.array_equal(cells, found.numpy())
    else:
        assert cells.sum() == 1


def test_a_region_between_the_cells_gets_the_cell_at_its_centre():
    roi = np.zeros((1000, 1000), dtype=bool)
    roi[501, 250] = True
    assert covered_cells(roi, 10).nonzero() == (np.array([5]), np.array([2]))
