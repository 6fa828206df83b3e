"""open_clip models: equal to the library called directly, local weights only, never untrained."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from embedstore_clip import open_clip_catalog, open_clip_factory
from embedstore_clip.recipes import from_open_clip
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image as PilImage

from embedstore.contracts.encoder import LoadRequest, ScaledEncoder, StagedEncoder, TunableEncoder
from embedstore.contracts.image import Image, ImageInput
from embedstore.discovery import ENCODERS, find_plugin
from embedstore.encoders.preprocess import Recipe
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.fingerprint import file_sha256
from embedstore.testing.encoders import SAMPLE_TEXTS, EncoderContract, sample_images

ONE_THREAD = LoadRequest(threads=1)
SHORT = ["no acute abnormality", "a cat", "Left eye: mild retinopathy."]
LONG = "Heart size normal. " * 12 + "Right lower lobe consolidation with a small effusion."


def _pil(image):
    pixels = image.image.pixels
    return PilImage.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("RGB")


def _load(folder, **options):
    return open_clip_factory.load(f"open-clip:{folder}", LoadRequest(threads=1, **options))


@pytest.fixture(autouse=True)
def no_caches(monkeypatch, tmp_path):
    """Weights that happen to be on the machine that runs the tests do not count."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


class _Tiny(EncoderContract):
    __test__ = False
    factory = open_clip_factory
    entry = "embedstore_clip:open_clip_factory"


class TestOpenClip(_Tiny):
    __test__ = True

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def model(open_clip_folder):
        TestOpenClip.name = f"open-clip:{open_clip_folder}"


class TestOpenSiglip(_Tiny):
    __test__ = True

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def model(open_siglip_folder):
        TestOpenSiglip.name = f"open-clip:{open_siglip_folder}"


def test_it_is_found_by_entry_point():
    assert find_plugin(ENCODERS, "open-clip:ViT-B-32/openai").load() is open_clip_factory


@pytest.mark.parametrize("which", ["open_clip_folder", "open_siglip_folder"])
def test_vectors_equal_those_of_the_library(which, request):
    folder = request.getfixturevalue(which)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    encoder = _load(folder)
    with torch.inference_mode():
        images = model.encode_image(torch.stack([preprocess(_pil(i)) for i in sample_images()])).numpy()
        texts = model.encode_text(tokenizer(SHORT)).numpy()
    assert np.abs(encoder.encode_images(sample_images()) - images).max() < 1e-5
    assert np.abs(encoder.encode_texts(SHORT) - texts).max() < 1e-5
    assert isinstance(encoder, StagedEncoder)
    assert isinstance(encoder, TunableEncoder)
    assert isinstance(encoder, ScaledEncoder)
    assert encoder.logit_scale == pytest.approx(model.logit_scale.exp().item())
    assert encoder.logit_bias == (-10 if which == "open_siglip_folder" else None)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(48, 48), (40, 64)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_recipe_equals_the_librarys_own_transform(mode, size, interpolation):
    settings = PreprocessCfg(size=size, resize_mode=mode, interpolation=interpolation, fill_color=7)
    theirs = image_transform_v2(settings, is_train=False)
    recipe = from_open_clip(vars(settings))
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    for image in sample_images():
        assert np.abs(recipe.apply(image) - theirs(_pil(image)).numpy()).max() < 1e-5


@pytest.mark.parametrize("shape", [(49, 131), (131, 50), (47, 48), (48, 600), (333, 335), (1, 9)])
def test_recipe_equals_the_librarys_own_transform_at_odd_sizes(shape):
    image = ImageInput(
        Image(np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8), "display")
    )
    settings = PreprocessCfg(size=48)
    theirs = image_transform_v2(settings, is_train=False)(_pil(image)).numpy()
    assert np.abs(from_open_clip(vars(settings)).apply(image) - theirs).max() < 1e-5


def test_an_unknown_resize_mode_is_refused():
    with pytest.raises(Refused, match="'mirror'"):
        from_open_clip({"resize_mode": "mirror"})


def test_the_end_of_a_long_report_counts(open_clip_folder):
    encoder = _load(open_clip_folder)
    endings = [LONG, LONG.replace("Right", "Left")]
    tokens = open_clip.get_tokenizer(f"local-dir:{open_clip_folder}")(endings)
    assert torch.equal(tokens[0], tokens[1]), "the library cuts the ending off"
    a, b = encoder.encode_texts(endings)
    assert np.abs(a - b).max() > 1e-4
    assert encoder.spec.tower("text").preprocess["context"] == 24


def test_the_space_is_of_the_files_not_of_their_place(open_clip_folder, tmp_path):
    copied = shutil.copytree(open_clip_folder, tmp_path / "elsewhere")
    here, there = _load(open_clip_folder).spec, _load(copied).spec
    assert here.tower("image").space == there.tower("image").space
    assert here.tower("image").space == here.tower("text").space
    assert here.name != there.name
    config = json.loads((copied / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["resize_mode"] = "squash"
    (copied / "open_clip_config.json").write_text(json.dumps(config))
    assert _load(copied).spec.tower("image").space != here.tower("image").space


def test_half_precision_is_another_space_with_nearly_the_same_vectors(open_clip_folder):
    full, half = _load(open_clip_folder), _load(open_clip_folder, precision="bf16")
    assert full.spec.tower("image").space != half.spec.tower("image").space
    a, b = full.encode_images(sample_images()), half.encode_images(sample_images())
    assert b.dtype == np.float32
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.995


# Weights


def test_missing_weights_say_what_to_fetch_and_where_to_put_it(tmp_path):
    name = "open-clip:ViT-B-16-SigLIP/webli"
    report = open_clip_factory.doctor(name, LoadRequest(weights_folder=tmp_path))
    assert report.state == "missing"
    assert "open_clip_model.safetensors" in report.remedy
    assert "timm/ViT-B-16-SigLIP" in report.remedy
    assert "ViT-B-16-SigLIP/webli/ in the folder that EMBEDSTORE_WEIGHTS names" in report.remedy
    assert str(tmp_path / "ViT-B-16-SigLIP" / "webli") in report.searched
    with pytest.raises(WeightsMissing, match=r"timm/ViT-B-16-SigLIP"):
        open_clip_factory.load(name, LoadRequest(weights_folder=tmp_path))


def test_a_model_without_named_weights_is_never_untrained():
    with pytest.raises(WeightsMissing, match="names no weights"):
        open_clip_factory.load("open-clip:ViT-B-32", ONE_THREAD)
    with pytest.raises(WeightsMissing, match="say which model"):
        open_clip_factory.load("open-clip", ONE_THREAD)


def test_a_repository_is_found_in_the_weights_folder(open_clip_folder, tmp_path):
    name = "open-clip:hf-hub:microsoft/BiomedCLIP"
    missing = open_clip_factory.doctor(name, LoadRequest(weights_folder=tmp_path))
    assert missing.state == "missing"
    assert "microsoft--BiomedCLIP" in missing.remedy
    shutil.copytree(open_clip_folder, tmp_path / "microsoft--BiomedCLIP")
    request = LoadRequest(weights_folder=tmp_path, threads=1)
    assert open_clip_factory.doctor(name, request).state == "present"
    space = open_clip_factory.load(name, request).spec.tower("image").space
    assert space == _load(open_clip_folder).spec.tower("image").space


def test_doctor_sees_that_a_download_went_wrong(tmp_path, open_clip_folder):
    folder = tmp_path / "pointer"
    shutil.copytree(open_clip_folder, folder)
    (folder / "open_clip_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    report = open_clip_factory.doctor(f"open-clip:{folder}", LoadRequest())
    assert (report.state, "Git LFS pointer" in report.remedy) == ("unusable", True)


def test_a_repository_is_found_in_hugging_faces_cache(open_clip_folder, tmp_path):
    repo = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(open_clip_folder, repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    report = open_clip_factory.doctor("open-clip:hf-hub:org/tiny", LoadRequest())
    assert report.state == "present"
    assert "snapshots" in report.path


def test_a_file_of_a_built_in_model_loads_and_another_is_refused(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(6)
    model = open_clip.create_model("ViT-S-32-alt")
    file = tmp_path / "mine.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    request = LoadRequest(weights=file, threads=1)
    encoder = open_clip_factory.load("open-clip:ViT-S-32-alt", request)
    model.eval()
    image = sample_images()[:1]
    with torch.inference_mode():
        expected = model.encode_image(torch.from_numpy(encoder.prepare_image(image[0])[None])).numpy()
    assert np.abs(encoder.encode_images(image) - expected).max() < 1e-5
    with pytest.raises(Refused, match=r"mine\.safetensors does not fit open-clip:ViT-B-32/openai"):
        open_clip_factory.load("open-clip:ViT-B-32/openai", request)


def _differ(model):
    entries = [open_clip_catalog._preprocess(entry) for entry in open_clip_catalog.tags(model).values()]
    return any(one != entries[0] for one in entries)


def test_weights_whose_preprocessing_is_ambiguous_are_refused(tmp_path):
    model = next(name for name in open_clip.list_models() if _differ(name))
    file = tmp_path / "mine.pt"
    file.write_bytes(b"")
    with pytest.raises(UsageError, match="say which yours are"):
        open_clip_factory.load(f"open-clip:{model}", LoadRequest(weights=file))
    assert open_clip_factory.doctor(f"open-clip:{model}", LoadRequest(weights=file)).state == "unusable"


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "ran"),)

    file = tmp_path / "evil.pt"
    torch.save({"state_dict": Evil()}, file)
    with pytest.raises(Refused, match=r"evil\.pt"):
        open_clip_factory.load("open-clip:ViT-S-32-alt", LoadRequest(weights=file))
    assert not (tmp_path / "ran").exists()


def _archive(model, file):
    """A TorchScript archive as OpenAI published: the weights in half precision, and facts beside them."""

    class Holder(torch.nn.Module):
        def forward(self, x):
            return x

    Holder.__module__ = "clip"  # the name of this file's module is none that TorchScript could write down
    holder = Holder()
    for name, tensor in model.state_dict().items():
        place, *path = holder, *name.split(".")
        for part in path[:-1]:
            if not hasattr(place, part):
                place.add_module(part, Holder())
            place = getattr(place, part)
        place.register_buffer(path[-1], tensor.half())
    holder.register_buffer("input_resolution", torch.tensor(224))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own old format deprecated; OpenAI's files have it
        torch.jit.save(torch.jit.script(holder), file)
    return file_sha256(file)


def test_openais_archive_loads_when_trusted_with_the_activation_it_was_trained_with(tmp_path):
    torch.manual_seed(11)
    model = open_clip.create_model("ViT-S-32-alt", force_quick_gelu=True)
    file = tmp_path / "ViT-S-32-alt.pt"
    sha256 = _archive(model, file)
    for trust in (None, "0" * 64):
        with pytest.raises(Refused, match=rf"is a program.*--trust-code {sha256}.*safetensors"):
            open_clip_factory.load("open-clip:ViT-S-32-alt", LoadRequest(weights=file, trust=trust))
    request = LoadRequest(weights=file, threads=1, trust=sha256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = open_clip_factory.load("open-clip:ViT-S-32-alt", request)
    model = model.half().float().eval()
    image = torch.from_numpy(encoder.prepare_image(sample_images()[0])[None])
    tokens = open_clip.get_tokenizer("ViT-S-32-alt")(SHORT)
    with torch.inference_mode():
        expected, texts = model.encode_image(image).numpy(), model.encode_text(tokens).numpy()
    assert np.abs(encoder.encode_images(sample_images()[:1]) - expected).max() < 1e-5
    assert np.abs(encoder.encode_texts(SHORT) - texts).max() < 1e-5
    with pytest.raises(Refused, match="as OpenAI published, not open-clip:ViT-B-32/laion2b_s34b_b79k"):
        open_clip_factory.load("open-clip:ViT-B-32/laion2b_s34b_b79k", request)


def test_openais_weights_get_their_activation_under_either_name():
    for name in ("open-clip:ViT-B-32/openai", "open-clip:ViT-B-32-quickgelu/openai"):
        assert open_clip_catalog.settings(open_clip_catalog.parse(name)).quick_gelu


def test_a_text_tower_kept_elsewhere_is_named(open_clip_folder, tmp_path):
    folder = shutil.copytree(open_clip_folder, tmp_path / "two_parts")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] = {"hf_model_name": "org/TextModel", "hf_tokenizer_name": "org/TextModel"}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsMissing, match="org/TextModel"):
        _load(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open-clip:ViTB32", "did you mean ViT-B-32"),
        ("open-clip:ViT-B-32/openia", "it has openai"),
        ("open-clip:hf-hub:justone", "ORG/REPO"),
        ("transformers:x", "not an open-clip encoder"),
    ],
)
def test_unknown_names_get_the_nearest(name, message):
    with pytest.raises(UsageError, match=message):
        open_clip_factory.spec(name)


def test_what_was_named_must_exist_and_fit(tmp_path, open_clip_folder):
    with pytest.raises(UsageError, match="no such weights"):
        open_clip_factory.load("open-clip:ViT-B-32/openai", LoadRequest(weights=tmp_path / "absent.pt"))
    with pytest.raises(UsageError, match="precision 'int3'"):
        _load(open_clip_folder, precision="int3")
    with pytest.raises(UsageError, match="device 'toaster'"):
        _load(open_clip_folder, device="toaster")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match="weights end in"):
        open_clip_factory.load("open-clip:ViT-B-32/openai", LoadRequest(weights=tmp_path / "notes.txt"))


def test_a_damaged_configuration_is_unusable(open_clip_folder, tmp_path):
    folder = shutil.copytree(open_clip_folder, tmp_path / "damaged")
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(Refused, match="cannot be read as JSON"):
        open_clip_factory.spec(f"open-clip:{folder}")


def test_the_network_is_left_alone_and_settings_restored(open_clip_folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    before = constants.HF_HUB_OFFLINE
    _load(open_clip_folder)
    assert "HF_HUB_OFFLINE" not in os.environ
    assert before == constants.HF_HUB_OFFLINE


def test_describing_a_named_model_imports_no_torch():
    code = (
        "import sys; from embedstore_clip import open_clip_factory as f;"
        "from embedstore.contracts.encoder import LoadRequest;"
        "s = f.spec('open-clip:ViT-B-16-SigLIP/webli'); f.doctor(s.name, LoadRequest());"
        "assert s.towers[0].dim == 768 and s.towers[0].preprocess['steps'][1]['mode'] == 'squash', s;"
        "heavy = {'torch', 'open_clip', 'transformers', 'safetensors'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_sample_texts_are_longer_than_the_tiny_context():
    assert max(len(text.split()) for text in SAMPLE_TEXTS) > 24  # the contract suite exercises windows too
