"""transformers' CLIP and SigLIP folders: equal to the library called directly, complete or refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from embedstore_clip import open_clip_factory, transformers_factory
from embedstore_clip.recipes import from_processor
from embedstore_clip.windows import pack
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PilImage

from embedstore.contracts.encoder import LoadRequest, ScaledEncoder
from embedstore.discovery import ENCODERS, find_plugin
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.testing.encoders import EncoderContract, sample_images

SHORT = ["no acute abnormality", "a cat", "Left eye: mild retinopathy."]


def _pil(image):
    pixels = image.image.pixels
    return PilImage.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("RGB")


def _load(folder, **options):
    return transformers_factory.load(f"transformers:{folder}", LoadRequest(threads=1, **options))


def _rows(output):
    return (output if isinstance(output, torch.Tensor) else output.pooler_output).numpy()


class _Tiny(EncoderContract):
    __test__ = False
    factory = transformers_factory
    entry = "embedstore_clip:transformers_factory"


class TestClip(_Tiny):
    __test__ = True

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def model(clip_folder):
        TestClip.name = f"transformers:{clip_folder}"


class TestSiglip(_Tiny):
    __test__ = True

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def model(siglip_folder):
        TestSiglip.name = f"transformers:{siglip_folder}"


def test_it_is_found_by_entry_point():
    assert find_plugin(ENCODERS, "transformers:folder").load() is transformers_factory


def test_clip_vectors_equal_those_of_the_library(clip_folder, word_tokenizer):
    from transformers import CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    model = CLIPModel.from_pretrained(clip_folder).eval()
    processor = CLIPImageProcessorPil.from_pretrained(clip_folder)
    pixels = torch.from_numpy(np.stack(processor([_pil(i) for i in sample_images()])["pixel_values"]))
    tokens = word_tokenizer(SHORT, padding=True, return_tensors="pt")
    with torch.inference_mode():
        images = _rows(model.get_image_features(pixel_values=pixels))
        texts = _rows(
            model.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        )
    encoder = _load(clip_folder)
    assert np.abs(encoder.encode_images(sample_images()) - images).max() < 1e-5
    assert np.abs(encoder.encode_texts(SHORT) - texts).max() < 1e-5
    assert isinstance(encoder, ScaledEncoder)
    assert encoder.logit_scale == pytest.approx(model.logit_scale.exp().item())
    assert encoder.logit_bias is None


def test_siglip_vectors_and_probabilities_equal_those_of_the_library(siglip_folder, word_tokenizer):
    from transformers import SiglipModel
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    model = SiglipModel.from_pretrained(siglip_folder).eval()
    processor = SiglipImageProcessorPil.from_pretrained(siglip_folder)
    pixels = torch.from_numpy(np.stack(processor([_pil(i) for i in sample_images()])["pixel_values"]))
    tokens = word_tokenizer(SHORT, padding="max_length", max_length=16, return_tensors="pt")
    with torch.inference_mode():
        expected = model(pixel_values=pixels, input_ids=tokens.input_ids).logits_per_image.numpy()
        images = _rows(model.get_image_features(pixel_values=pixels))
    encoder = _load(siglip_folder)
    found = encoder.encode_images(sample_images())
    assert np.abs(found - images).max() < 1e-5
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (found, encoder.encode_texts(SHORT)))
    assert encoder.logit_bias == -10
    assert np.abs(encoder.logit_scale * (a @ b.T) + encoder.logit_bias - expected).max() < 1e-4


def test_siglip_attends_to_its_padding(siglip_folder, word_tokenizer):
    """A mask, which many tokenizers give, shifts every vector of a model that was trained without one."""
    from transformers import SiglipModel

    model = SiglipModel.from_pretrained(siglip_folder).eval()
    tokens = word_tokenizer(SHORT, padding="max_length", max_length=16, return_tensors="pt")
    with torch.inference_mode():
        texts = _rows(model.get_text_features(input_ids=tokens.input_ids))
        masked = _rows(model.get_text_features(**{k: tokens[k] for k in ("input_ids", "attention_mask")}))
    encoder = _load(siglip_folder)
    assert np.abs(encoder.encode_texts(SHORT) - texts).max() < 1e-5
    assert np.abs(encoder.encode_texts(SHORT) - masked).max() > 1e-2
    assert "attended to" in encoder.spec.tower("text").preprocess["padding"]


def test_siglip_2_reads_lower_case(siglip_folder, tmp_path):
    """Its tokenizer is Gemma's, which keeps the case; the model saw none but lower case in training."""
    from transformers import GemmaTokenizer, SiglipModel

    folder = shutil.copytree(siglip_folder, tmp_path / "siglip2")
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "▁left", "▁eye", "▁Left", "▁", *map(chr, range(33, 127))]
    tokenizer = GemmaTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    rows = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    tokenizer.add_tokens([f"<extra{n}>" for n in range(rows - len(tokenizer))])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    tokenizer.save_pretrained(folder)
    if len(tokenizer) > rows:
        from transformers import SiglipConfig

        config = SiglipConfig.from_pretrained(folder)
        config.text_config.vocab_size = len(tokenizer)
        torch.manual_seed(4)
        SiglipModel(config).save_pretrained(folder)
    encoder = _load(folder)
    a, b = encoder.encode_texts(["Left eye", "left eye"])
    assert np.array_equal(a, b)
    tokens = tokenizer(["left eye"], padding="max_length", max_length=16, return_tensors="pt")
    model = SiglipModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = _rows(model.get_text_features(input_ids=tokens.input_ids))
    assert np.abs(b - expected[0]).max() < 1e-5
    assert encoder.spec.tower("text").preprocess["case"] == "lower"


@pytest.mark.parametrize(
    ("factory", "which"),
    [
        (transformers_factory, "clip_folder"),
        (transformers_factory, "siglip_folder"),
        (open_clip_factory, "open_clip_folder"),
        (open_clip_factory, "open_siglip_folder"),
    ],
)
def test_a_row_is_the_same_alone_among_seven_and_in_any_order(factory, which, request):
    plugin = "open-clip" if factory is open_clip_factory else "transformers"
    encoder = factory.load(f"{plugin}:{request.getfixturevalue(which)}", LoadRequest(threads=1))
    images, texts = [*sample_images(), sample_images()[2]], [*SHORT, *SHORT, "the cat"]
    for encode, inputs in ((encoder.encode_images, images), (encoder.encode_texts, texts)):
        seven = encode(inputs)
        assert np.abs(np.concatenate([encode([one]) for one in inputs]) - seven).max() < 1e-5
        assert np.abs(encode(inputs[::-1])[::-1] - seven).max() < 1e-5


def test_a_folder_without_its_tokenizer_is_refused(clip_folder, tmp_path):
    """transformers makes one of a handful of tokens up, and goes on."""
    folder = shutil.copytree(clip_folder, tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(Refused, match=r"tokenizer|cannot be loaded"):
        _load(folder)


def test_a_repository_is_found_in_the_weights_folder_and_the_hubs_cache(clip_folder, tmp_path, monkeypatch):
    shutil.copytree(clip_folder, tmp_path / "weights" / "org--tiny")
    request = LoadRequest(weights_folder=tmp_path / "weights", threads=1)
    assert transformers_factory.doctor("transformers:org/tiny", request).state == "present"
    space = transformers_factory.load("transformers:org/tiny", request).spec.tower("image").space
    assert space == _load(clip_folder).spec.tower("image").space
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert transformers_factory.doctor("transformers:org/tiny", LoadRequest()).state == "missing"
    shutil.copytree(clip_folder, tmp_path / "hub" / "models--org--tiny" / "snapshots" / "abc")
    assert transformers_factory.doctor("transformers:org/tiny", LoadRequest()).state == "present"


@pytest.mark.parametrize("which", ["clip", "siglip"])
def test_recipe_equals_the_librarys_own_processor(which):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    processor = {"clip": CLIPImageProcessorPil, "siglip": SiglipImageProcessorPil}[which]()
    recipe = from_processor(json.loads(processor.to_json_string()))
    for image in sample_images():
        expected = np.asarray(processor(_pil(image))["pixel_values"][0])
        assert np.abs(recipe.apply(image) - expected).max() < 1e-5


def test_what_a_processor_may_ask_beyond_that_is_refused():
    with pytest.raises(Refused, match="filter 7"):
        from_processor({"resample": 7})
    with pytest.raises(Refused, match="aspect ratio"):
        from_processor({"size": {"shortest_edge": 224}, "do_center_crop": False})
    with pytest.raises(Refused, match="pads"):
        from_processor({"do_pad": True})


def test_a_template_knows_the_folder_without_loading_it(clip_folder, siglip_folder):
    for folder, dim, context in ((clip_folder, 20, 24), (siglip_folder, 32, 16)):
        spec = transformers_factory.spec(f"transformers:{folder}")
        assert [tower.dim for tower in spec.towers] == [dim, dim]
        assert spec.tower("text").preprocess["context"] == context
        assert _load(folder).spec.tower("image").preprocess == spec.tower("image").preprocess


def test_the_space_is_of_the_files_not_of_their_place(clip_folder, tmp_path):
    copied = shutil.copytree(clip_folder, tmp_path / "elsewhere")
    assert _load(copied).spec.tower("text").space == _load(clip_folder).spec.tower("text").space
    by_weights = transformers_factory.load("transformers", LoadRequest(weights=copied, threads=1))
    assert by_weights.spec.tower("text").space == _load(clip_folder).spec.tower("text").space


def test_a_folder_without_part_of_the_weights_is_refused(clip_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(clip_folder, tmp_path / "partial")
    tensors = load_file(folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refused, match="visual_projection"):
        _load(folder)


@pytest.mark.parametrize("absent", ["model.safetensors", "preprocessor_config.json"])
def test_missing_files_are_named(clip_folder, tmp_path, absent):
    folder = shutil.copytree(clip_folder, tmp_path / "partial")
    for name in {absent, "processor_config.json"} if "processor" in absent else {absent}:
        (folder / name).unlink(missing_ok=True)
    name = f"transformers:{folder}"
    if absent == "model.safetensors":
        report = transformers_factory.doctor(name, LoadRequest())
        assert report.state == "missing"
        assert absent in report.remedy
    with pytest.raises(WeightsMissing, match=absent):
        _load(folder)


def test_a_missing_folder_and_other_models_say_what_to_do(tmp_path):
    report = transformers_factory.doctor("transformers:absent", LoadRequest(weights_folder=tmp_path))
    assert report.state == "missing"
    assert "hf download" in report.remedy
    assert str(tmp_path / "absent") in report.searched
    with pytest.raises(WeightsMissing, match="absent"):
        transformers_factory.load("transformers:absent", LoadRequest())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip2"}))
    with pytest.raises(UsageError, match="NaFlex"):
        transformers_factory.spec(f"transformers:{tmp_path}")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(Refused, match="not a JSON object"):
        transformers_factory.spec(f"transformers:{tmp_path}")


# Windows of long texts


@given(st.text(alphabet="ab .;\n", max_size=120), st.integers(1, 9))
def test_packing_loses_no_word_and_keeps_their_order(text, most):
    windows = pack(text, lambda part: len(part.split()) <= most)
    assert " ".join(windows).split() == text.split()
    assert all(len(window.split()) <= most for window in windows)


def test_packing_breaks_at_sentence_ends():
    text = "Heart size normal. No effusion. Small nodule in the left lobe."
    assert pack(text, lambda part: len(part.split()) <= 6) == [
        "Heart size normal. No effusion.",
        "Small nodule in the left lobe.",
    ]
