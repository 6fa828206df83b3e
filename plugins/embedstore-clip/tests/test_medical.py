"""`biomedclip` and `medsiglip`: small random models in the layouts of the official repositories."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from embedstore_clip import biomedclip_factory, medsiglip_factory, open_clip_factory, transformers_factory
from PIL import Image as PilImage

from embedstore.contracts.encoder import LoadRequest
from embedstore.discovery import ENCODERS, find_plugin
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.testing.encoders import EncoderContract, sample_images

BERT = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
SHORT = ["no acute abnormality", "a cat", "Left eye: mild retinopathy."]


@pytest.fixture(autouse=True)
def no_caches(monkeypatch, tmp_path):
    """Weights that happen to be on the machine that runs the tests do not count."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def _text_cfg(model_name):
    return {
        "hf_model_name": model_name,
        "hf_tokenizer_name": BERT,
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 256,
    }


@pytest.fixture(scope="session")
def biomedclip(tmp_path_factory, word_tokenizer):
    """(folder as published, open_clip's own model): BERT and ViT by names that only the hub could resolve."""
    from transformers import BertConfig

    folder, own = tmp_path_factory.mktemp("biomedclip"), tmp_path_factory.mktemp("own")
    vision = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    BertConfig(vocab_size=len(word_tokenizer), **sizes).save_pretrained(own / "text")
    for place, name in ((folder, BERT), (own, str(own / "text"))):
        model = {"embed_dim": 20, "vision_cfg": vision, "text_cfg": _text_cfg(name)}
        document = {
            "model_cfg": model,
            "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
        }
        (place / "open_clip_config.json").write_text(json.dumps(document))
        word_tokenizer.save_pretrained(place)
    torch.manual_seed(9)
    model = open_clip.create_model(f"local-dir:{own}", pretrained_text=False, load_weights=False)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    shutil.copy(folder / "open_clip_pytorch_model.bin", own)
    return folder, own


@pytest.fixture(scope="session")
def medsiglip(tmp_path_factory, siglip_folder):
    folder = tmp_path_factory.mktemp("weights") / "medsiglip-448"
    return shutil.copytree(siglip_folder, folder)


class TestBiomedClip(EncoderContract):
    factory = biomedclip_factory
    name = "biomedclip"
    entry = "embedstore_clip:biomedclip_factory"

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def weights(biomedclip):
        TestBiomedClip.request = LoadRequest(weights=biomedclip[0], threads=1)

    def test_spec_is_bound(self):
        """The official dimension is in the template; this small model has another."""
        spec = self.encoder().spec
        assert spec.towers[0].space == spec.towers[1].space
        assert (spec.name, spec.licence) == ("biomedclip", "MIT")


class TestMedSiglip(EncoderContract):
    factory = medsiglip_factory
    name = "medsiglip"
    entry = "embedstore_clip:medsiglip_factory"

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def weights(medsiglip):
        TestMedSiglip.request = LoadRequest(weights_folder=medsiglip.parent, threads=1, profile="evaluation")

    def test_spec_is_bound(self):
        """The official dimension is in the template; this small model has another."""
        spec = self.encoder().spec
        assert spec.towers[0].space == spec.towers[1].space
        assert (spec.name, spec.profile) == ("medsiglip", "evaluation")


def test_they_are_found_by_entry_point():
    assert find_plugin(ENCODERS, "biomedclip").load() is biomedclip_factory
    assert find_plugin(ENCODERS, "medsiglip").load() is medsiglip_factory


def test_biomedclip_equals_open_clip_without_the_hub(biomedclip):
    folder, own = biomedclip
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{own}", pretrained_text=False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{own}")
    model.eval()
    pictures = [PilImage.fromarray(i.image.pixels.squeeze()).convert("RGB") for i in sample_images()]
    with torch.inference_mode():
        images = model.encode_image(torch.stack([preprocess(picture) for picture in pictures])).numpy()
        texts = model.encode_text(tokenizer(SHORT)).numpy()
    encoder = biomedclip_factory.load("biomedclip", LoadRequest(weights=folder, threads=1))
    assert np.abs(encoder.encode_images(sample_images()) - images).max() < 1e-5
    assert np.abs(encoder.encode_texts(SHORT) - texts).max() < 1e-5
    assert encoder.spec.tower("text").preprocess["context"] == 256
    by_folder = open_clip_factory.load(f"open-clip:{folder}", LoadRequest(threads=1))
    assert by_folder.spec.tower("image").space == encoder.spec.tower("image").space
    of_file = LoadRequest(weights=folder / "open_clip_pytorch_model.bin", threads=1)
    assert biomedclip_factory.load("biomedclip", of_file).spec == encoder.spec


def test_biomedclip_without_its_tokenizer_is_refused(biomedclip, tmp_path):
    """With config.json alone, transformers makes up a tokenizer of five tokens and says nothing."""
    folder = shutil.copytree(biomedclip[0], tmp_path / "bare")
    for path in folder.glob("*token*"):
        path.unlink()
    shutil.copy(biomedclip[1] / "text" / "config.json", folder)
    with pytest.raises(Refused, match="no fitting tokenizer"):
        biomedclip_factory.load("biomedclip", LoadRequest(weights=folder))


def test_what_is_known_of_them_before_they_are_here():
    spec = biomedclip_factory.spec("biomedclip")
    assert spec.prompt.format("pneumonia") == "this is a photo of pneumonia"
    assert [tower.dim for tower in spec.towers] == [512, 512]
    assert biomedclip_factory.doctor("biomedclip", LoadRequest()).state == "missing"
    spec = medsiglip_factory.spec("medsiglip", "evaluation")
    assert [tower.dim for tower in spec.towers] == [1152, 1152]
    assert "tensorflow" in json.dumps(spec.tower("image").preprocess)
    with pytest.raises(WeightsMissing, match="medsiglip-448"):
        medsiglip_factory.load("medsiglip", LoadRequest())
    with pytest.raises(UsageError, match="default, evaluation"):
        medsiglip_factory.spec("medsiglip", "squash")


def test_medsiglip_is_siglip_in_the_same_space(medsiglip):
    request = LoadRequest(weights=medsiglip, threads=1)
    own = medsiglip_factory.load("medsiglip", request)
    plain = transformers_factory.load(f"transformers:{medsiglip}", LoadRequest(threads=1))
    assert own.spec.tower("text").space == plain.spec.tower("text").space
    evaluated = medsiglip_factory.load("medsiglip", LoadRequest(weights=medsiglip, profile="evaluation"))
    assert evaluated.spec.tower("text").space != own.spec.tower("text").space


def test_medsiglip_as_evaluated_resizes_without_antialias(medsiglip):
    """Half-pixel centres and held edges, then truncated, as tf.image.resize and astype(uint8) do."""
    encoder = medsiglip_factory.load("medsiglip", LoadRequest(weights=medsiglip, profile="evaluation"))
    for image in sample_images():
        source = torch.from_numpy(image.image.pixels.astype(np.float32).transpose(2, 0, 1)[None])
        resized = torch.nn.functional.interpolate(source, size=(48, 48), mode="bilinear", antialias=False)
        expected = resized[0].expand(3, -1, -1).numpy()
        grey = (encoder.prepare_image(image) * 0.5 + 0.5) * 255
        below = expected - grey
        assert below.min() > -1e-2, "truncated, not rounded"
        assert below.max() < 1 + 1e-2


def test_a_clip_model_is_not_medsiglip(clip_folder):
    with pytest.raises(UsageError, match="of type 'clip'"):
        medsiglip_factory.load("medsiglip", LoadRequest(weights=clip_folder))


def test_the_folder_named_may_be_the_file_in_it(medsiglip):
    file = LoadRequest(weights=Path(medsiglip) / "model.safetensors", threads=1)
    folder = LoadRequest(weights=medsiglip, threads=1)
    assert medsiglip_factory.load("medsiglip", file).spec == medsiglip_factory.load("medsiglip", folder).spec
