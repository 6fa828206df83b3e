"""timm backbones: equal to the library called directly, local weights only, loaded strictly."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import timm
import torch
from embedstore_timm import factory
from embedstore_timm.recipes import Profile, from_timm
from PIL import Image as PilImage
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config
from timm.models import save_for_hf

from embedstore.contracts.encoder import LoadRequest, PortableEncoder, TunableEncoder
from embedstore.discovery import ENCODERS, find_plugin
from embedstore.encoders.preprocess import Recipe
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.testing.encoders import EncoderContract, sample_images

ONE_THREAD = LoadRequest(threads=1)
SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32}
# Each kind of pooling and layout once: CLS, DINOv2's, DINOv3's average, convolutions, averaged patches.
MODELS = {
    "vit_tiny_patch16_224": SMALL,
    "vit_small_patch14_dinov2": {**SMALL, "img_size": 42, "num_classes": 0},
    "vit_small_patch16_dinov3": {**SMALL, "img_size": 48, "num_classes": 0},
    "test_convnext": {},
    "test_vit3": {"img_size": 48},
}


@pytest.fixture(autouse=True)
def no_caches(monkeypatch, tmp_path):
    """Weights that happen to be on the machine that runs the tests do not count."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def _made(name, arguments, seed=3):
    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False, **arguments)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too, so that none can be lost unseen
            parameter.add_(torch.randn_like(parameter) * 0.02)
    size = arguments.get("img_size")
    if size:
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, size, size)}
    return model.eval()


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folders as timm publishes them on the hub, one per model."""
    found = {}
    for name, arguments in MODELS.items():
        folder = tmp_path_factory.mktemp(name)
        save_for_hf(_made(name, arguments), folder, model_args=arguments, safe_serialization=True)
        found[name] = folder
    return found


def _load(folder, **options):
    return factory.load(f"timm:{folder}", LoadRequest(threads=1, **options))


def _pil(image):
    pixels = image.image.pixels
    return PilImage.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("RGB")


class TestTimm(EncoderContract):
    factory = factory
    entry = "embedstore_timm:factory"
    request = ONE_THREAD

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def model(folders):
        TestTimm.name = f"timm:{folders['vit_tiny_patch16_224']}"


def test_it_is_found_by_entry_point():
    assert find_plugin(ENCODERS, "timm:resnet18.a1_in1k").load() is factory


@pytest.mark.parametrize("name", MODELS)
def test_vectors_equal_those_of_timm(folders, name):
    theirs = timm.create_model(f"local-dir:{folders[name]}", pretrained=True, num_classes=0).eval()
    config = resolve_data_config(model=theirs)
    transform = create_transform(**config, is_training=False)
    images = [*sample_images(), sample_images()[0]]
    with torch.inference_mode():
        expected = theirs(torch.stack([transform(_pil(image)) for image in images])).numpy()
    encoder = _load(folders[name])
    assert isinstance(encoder, PortableEncoder)
    assert isinstance(encoder, TunableEncoder)
    assert np.abs(encoder.encode_images(images) - expected).max() < 1e-5
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    assert np.abs(alone - expected).max() < 1e-5
    assert np.abs(encoder.encode_images(images[::-1])[::-1] - expected).max() < 1e-5
    assert encoder.spec.tower("image").dim == expected.shape[1]
    assert factory.spec(f"timm:{folders[name]}").tower("image").dim == expected.shape[1]


def test_dinov3_averages_unless_its_cls_token_is_asked_for(folders):
    folder = folders["vit_small_patch16_dinov3"]
    own, token = _load(folder), _load(folder, profile="default+token")
    image = torch.from_numpy(own.prepare_image(sample_images()[2])[None])
    theirs = timm.create_model(
        f"local-dir:{folder}", pretrained=True, num_classes=0, global_pool="token"
    ).eval()
    with torch.inference_mode():
        cls = theirs.forward_features(image)[:, 0].numpy()
    a, b = own.encode_images(sample_images()[2:3]), token.encode_images(sample_images()[2:3])
    assert np.abs(b - cls).max() < 1e-5
    assert np.abs(a - b).max() > 1e-2
    assert (own.spec.tower("image").pooling, token.spec.tower("image").pooling) == (
        "timm's 'avg'",
        "timm's 'token'",
    )
    assert own.spec.tower("image").space != token.spec.tower("image").space
    same = _load(folder, profile="default+avg")
    assert same.spec.tower("image").space == own.spec.tower("image").space


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_pct": 0.875, "interpolation": "bilinear"},
        {"crop_pct": 0.9, "interpolation": "bicubic"},
        {"crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "squash"},
        {"crop_pct": 0.95, "interpolation": "bicubic", "crop_mode": "squash"},
        {"crop_pct": 0.9, "input_size": (3, 40, 64)},
        {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.4, 0.3)},
    ],
)
def test_recipe_equals_timms_own_transform(settings):
    config = resolve_data_config(pretrained_cfg={"input_size": (3, 48, 48), **settings})
    theirs = create_transform(**config, is_training=False)
    recipe = from_timm(config, Profile("default"))
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    for image in sample_images():
        assert np.abs(recipe.apply(image) - theirs(_pil(image)).numpy()).max() < 1e-5


def test_a_crop_mode_that_is_not_known_is_refused():
    with pytest.raises(Refused, match="'border'"):
        from_timm({"crop_mode": "border"}, Profile("default"))


def test_profiles_change_view_size_and_space(folders):
    folder = folders["vit_small_patch14_dinov2"]
    encoders = [_load(folder, profile=p) for p in ("default", "squash", "pad", "default@28")]
    assert len({encoder.spec.tower("image").space for encoder in encoders}) == 4
    assert encoders[3].prepare_image(sample_images()[0]).shape == (3, 28, 28)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0, img_size=28).eval()
    image = encoders[3].prepare_image(sample_images()[0])[None]
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(image)).numpy()
    assert np.abs(encoders[3].forward_images(image) - expected).max() < 1e-5
    with pytest.raises(UsageError, match="does not take 30x30"):
        _load(folder, profile="default@30")
    with pytest.raises(UsageError, match=r"squash, pad.*\+token"):
        factory.spec("timm", "crop")


def test_a_checkpoint_of_a_named_model_loads_from_a_file(tmp_path):
    model = _made("test_vit", {})
    file = tmp_path / "mine.pth"
    torch.save({"state_dict": model.state_dict()}, file)
    encoder = factory.load("timm:test_vit.r160_in1k", LoadRequest(weights=file, threads=1))
    image = sample_images()[2:3]
    prepared = torch.from_numpy(encoder.prepare_image(image[0])[None])
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(prepared), pre_logits=True).numpy()
    assert np.abs(encoder.encode_images(image) - expected).max() < 1e-5


def test_the_authors_layout_of_dinov2_goes_through_timms_filter(folders, tmp_path):
    tensors = load_file(folders["vit_small_patch14_dinov2"] / "model.safetensors")
    official = {**tensors, "mask_token": torch.zeros(1, 32)}
    shutil.copy(folders["vit_small_patch14_dinov2"] / "config.json", tmp_path)
    torch.save(official, tmp_path / "pytorch_model.bin")
    a, b = _load(tmp_path), _load(folders["vit_small_patch14_dinov2"])
    assert np.array_equal(a.encode_images(sample_images()), b.encode_images(sample_images()))


# Wrong files


def _spoilt(folder, place, change):
    shutil.copytree(folder, place)
    tensors = load_file(place / "model.safetensors")
    save_file(change(tensors), place / "model.safetensors")
    return place


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "norm.bias"}, r"lacks norm\.bias"),
        (lambda t: {("module." + k): v for k, v in t.items()}, "lacks cls_token.*has module"),
        (lambda t: {**t, "extra.weight": torch.zeros(1)}, r"has extra\.weight"),
        (lambda t: {**t, "norm.bias": torch.zeros(31)}, r"expected norm\.bias of \(32,\), found \(31,\)"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(folders, tmp_path, change, told):
    place = _spoilt(folders["vit_tiny_patch16_224"], tmp_path / "spoilt", change)
    with pytest.raises(Refused, match=told):
        _load(place)


def test_truncated_files_and_pickles_are_refused(folders, tmp_path):
    place = tmp_path / "cut"
    shutil.copytree(folders["test_convnext"], place)
    whole = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refused, match="truncated"):
        _load(place)
    torch.save({"model": print}, tmp_path / "code.pth")
    with pytest.raises(Refused, match="could run code"):
        factory.load("timm:test_vit.r160_in1k", LoadRequest(weights=tmp_path / "code.pth"))


def test_another_models_folder_is_refused(folders):
    with pytest.raises(Refused, match="is of the model test_convnext, not of test_vit"):
        factory.load("timm:test_vit", LoadRequest(weights=folders["test_convnext"]))


def test_names_that_settle_nothing_are_refused(tmp_path):
    file = tmp_path / "mine.pth"
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(UsageError, match="no model 'vit_bse"):
        factory.load("timm:vit_bse_patch16_224", LoadRequest(weights=file))
    with pytest.raises(UsageError, match="no pretrained weights 'nope'"):
        factory.load("timm:test_vit.nope", LoadRequest(weights=file))
    with pytest.raises(UsageError, match="differ in their preprocessing"):
        factory.load("timm:vit_base_patch16_224", LoadRequest(weights=file))
    with pytest.raises(UsageError, match="hf-hub:ORG/REPO"):
        factory.spec("timm:hf-hub:org")


def test_missing_weights_say_what_to_fetch_and_where_to_put_it(folders, tmp_path):
    name = "timm:vit_base_patch14_dinov2.lvd142m"
    report = factory.doctor(name, LoadRequest(weights_folder=tmp_path))
    assert report.state == "missing"
    assert "timm/vit_base_patch14_dinov2.lvd142m" in report.remedy
    with pytest.raises(WeightsMissing, match="EMBEDSTORE_WEIGHTS"):
        factory.load(name, LoadRequest(weights_folder=tmp_path))
    shutil.copytree(folders["test_vit3"], tmp_path / "org--tiny")
    request = LoadRequest(weights_folder=tmp_path, threads=1)
    assert factory.doctor("timm:hf-hub:org/tiny", request).state == "present"
    space = factory.load("timm:hf-hub:org/tiny", request).spec.tower("image").space
    assert space == _load(folders["test_vit3"]).spec.tower("image").space


def test_a_repository_is_found_in_hugging_faces_cache(folders, tmp_path):
    snapshot = tmp_path / "hub" / "models--timm--test_convnext.r160_in1k" / "snapshots" / "abc"
    shutil.copytree(folders["test_convnext"], snapshot)
    assert factory.doctor("timm:test_convnext.r160_in1k", LoadRequest()).state == "present"
    factory.load("timm:test_convnext.r160_in1k", ONE_THREAD)
