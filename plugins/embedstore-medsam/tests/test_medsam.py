"""MedSAM and MedSAM2: equal to the authors' code on the parity cases, strict about files and regions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedstore_medsam import medsam2_factory, medsam_factory, sam, sam2
from embedstore_medsam.checkpoint import official_name
from embedstore_medsam.factory import MedsamFactory
from embedstore_medsam.model import MEDSAM, MEDSAM2, Model
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.sam.configuration_sam import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder
from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig
from transformers.models.sam2.modeling_sam2 import Sam2VisionModel

from embedstore.contracts.encoder import LoadRequest
from embedstore.contracts.image import Image, ImageInput
from embedstore.discovery import ENCODERS, find_plugin
from embedstore.encoders.preprocess import Recipe, Resize
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.testing.encoders import EncoderContract, sample_images

FACTORIES = {"medsam": medsam_factory, "medsam2": medsam2_factory}


def _random(network: torch.nn.Module, names: Any) -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(11)
    return {
        "image_encoder." + official_name(key, names): torch.randn(value.shape, generator=noise) * 0.1
        for key, value in network.state_dict().items()
    }


def small_medsam(size: int = MEDSAM.size) -> dict[str, torch.Tensor]:
    """A SAM of two blocks of one head, one with windows and one without, in the official layout."""
    with torch.device("meta"):
        network = SamVisionEncoder(
            SamVisionConfig(
                image_size=size,
                hidden_size=64,
                num_hidden_layers=2,
                num_attention_heads=1,
                mlp_dim=64,
                window_size=14,
                global_attn_indexes=[1],
            )
        )
    others = {"prompt_encoder.x": torch.zeros(1), "mask_decoder.x": torch.zeros(1)}
    return _random(network, sam.NAMES) | others


def small_medsam2() -> dict[str, dict[str, torch.Tensor]]:
    """SAM 2.1 Hiera-tiny with random tensors; memory and mask decoder only hinted at."""
    with torch.device("meta"):
        network = Sam2VisionModel(Sam2VisionConfig(backbone_config=Sam2HieraDetConfig(image_size=[512, 512])))
    others = {key: torch.zeros(1) for key in ("sam_mask_decoder.x", "memory_attention.x")}
    return {"model": _random(network, sam2.NAMES) | others | {"no_mem_embed": torch.ones(1, 1, 256)}}


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small checkpoints by encoder name."""
    folder = tmp_path_factory.mktemp("medsam")
    paths = {"medsam": folder / "medsam_vit_b.pth", "medsam2": folder / "MedSAM2_latest.pt"}
    torch.save(small_medsam(), paths["medsam"])
    torch.save(small_medsam2(), paths["medsam2"])
    return paths


# The contract is about the code around the networks, so it is kept by ones of a sixteenth of their pixels.
_LESS = {"medsam": 256, "medsam2": 128}


def _reduced(model: Model) -> MedsamFactory:
    side = _LESS[model.name]
    profiles = {
        name: Recipe(
            tuple(replace(s, size=(side, side)) if isinstance(s, Resize) else s for s in recipe.steps),
            recipe.wants,
        )
        for name, recipe in model.profiles.items()
    }
    return MedsamFactory(replace(model, size=side, grid=side // 16, profiles=profiles))


class TestMedsam(EncoderContract):
    factory = _reduced(MEDSAM)
    name = "medsam"
    entry = "embedstore_medsam:medsam_factory"


class TestMedsam2(EncoderContract):
    factory = _reduced(MEDSAM2)
    name = "medsam2"
    entry = "embedstore_medsam:medsam2_factory"


@pytest.fixture(autouse=True, scope="module")
def _small_weights_for_the_contract(small, tmp_path_factory):
    reduced = tmp_path_factory.mktemp("reduced") / "medsam_vit_b.pth"
    torch.save(small_medsam(_LESS["medsam"]), reduced)
    TestMedsam.request = LoadRequest(weights=reduced, threads=1)
    TestMedsam2.request = LoadRequest(weights=small["medsam2"], threads=1)


def test_regions_that_cannot_be_are_refused(small):
    encoder = medsam_factory.load("medsam", LoadRequest(weights=small["medsam"], threads=1))
    image = Image(np.zeros((40, 50, 1), np.uint8), "display")
    with pytest.raises(UsageError, match="no pixel"):
        encoder.prepare_image(ImageInput(image, roi=np.zeros((40, 50), bool)))
    with pytest.raises(UsageError, match=r"\(50, 40\), the image is \(40, 50\)"):
        encoder.prepare_image(ImageInput(image, roi=np.ones((50, 40), bool)))


def test_a_region_of_the_whole_image_is_the_whole_image(small):
    encoder = medsam_factory.load("medsam", LoadRequest(weights=small["medsam"], threads=1))
    image = sample_images()[0].image
    whole, region = (
        encoder.prepare_image(ImageInput(image, roi=roi)) for roi in (None, np.ones((64, 64), bool))
    )
    assert np.array_equal(whole, region)


@pytest.mark.parametrize("model", [MEDSAM, MEDSAM2], ids=lambda model: model.name)
def test_an_image_and_its_regions_cost_one_pass(model, small):
    """The regions are other means over the same map, in whatever batches they come."""
    weights = TestMedsam.request.weights if model is MEDSAM else small["medsam2"]
    load = partial(_reduced(model).load, model.name, LoadRequest(weights=weights, threads=1))
    rng, first, second = np.random.default_rng(0), *(one.image for one in sample_images()[:2])
    regions = [None, *(rng.random(first.pixels.shape[:2]) > 0.5 for _ in range(3))]
    inputs = [ImageInput(first, roi) for roi in regions] + [ImageInput(second), ImageInput(first)]
    encoder = load()
    batch = np.stack([encoder.prepare_image(one) for one in inputs])
    with FlopCounterMode(display=False) as counter:
        vectors = [*encoder.forward_images(batch[:2]), *encoder.forward_images(batch[2:])]
    with FlopCounterMode(display=False) as one_pass:
        load().forward_images(batch[:1])
    assert counter.get_total_flops() == 3 * one_pass.get_total_flops()
    for row, vector in zip(batch, vectors, strict=True):
        alone = load().forward_images(row[None])[0]
        assert np.abs(vector - alone).max() < 1e-5 * np.abs(alone).max()


# Files that are not of the family


def _without_prefix(state: dict[str, Any], start: str) -> None:
    for key in [key for key in state if key.startswith(start)]:
        del state[key]


BLOCK = "image_encoder.blocks.1."
SPOILED = {
    "no mask decoder": ("medsam", lambda s: _without_prefix(s, "mask_decoder."), "expected mask_decoder"),
    "a block is missing": (
        "medsam",
        lambda s: _without_prefix(s, "image_encoder.blocks.0."),
        r"blocks without gaps, found \[1\]",
    ),
    "a tensor is missing": (
        "medsam",
        lambda s: _without_prefix(s, f"{BLOCK}attn.qkv.bias"),
        "lacks image_encoder.blocks.1.attn.qkv.bias",
    ),
    "a tensor is renamed": (
        "medsam",
        lambda s: s.update({f"{BLOCK}ln.bias": s.pop(f"{BLOCK}norm1.bias")}),
        "lacks image_encoder.blocks.1.norm1.bias and has image_encoder.blocks.1.ln.bias",
    ),
    "a shape is wrong": (
        "medsam",
        lambda s: s.update({f"{BLOCK}norm1.bias": torch.zeros(65)}),
        r"norm1.bias of \(64,\), found \(65,\)",
    ),
    "another input size": (
        "medsam",
        lambda s: s.update({"image_encoder.pos_embed": torch.zeros(1, 32, 32, 64)}),
        r"found \(1, 32, 32, 64\)",
    ),
    "something else besides": ("medsam", lambda s: s.update({"head.weight": torch.zeros(1)}), "head.weight"),
    "windows of two sizes": (
        "medsam",
        lambda s: s.update({f"{BLOCK}attn.rel_pos_h": torch.zeros(15, 64)}),
        r"windows of one size, found \[8, 14\]",
    ),
    "no memory": ("medsam2", lambda s: _without_prefix(s, "memory_attention."), "expected memory_attention"),
    "no no_mem_embed": ("medsam2", lambda s: _without_prefix(s, "no_mem_embed"), "expected no_mem_embed"),
    "a larger Hiera": (
        "medsam2",
        lambda s: s.update(
            {
                k.replace("blocks.11.", "blocks.12."): v.clone()
                for k, v in list(s.items())
                if "blocks.11." in k
            }
        ),
        "has image_encoder.trunk.blocks.12.",
    ),
    "another width": (
        "medsam2",
        lambda s: s.update({"image_encoder.trunk.pos_embed": torch.zeros(1, 112, 7, 7)}),
        r"\(1, 96, 7, 7\), found \(1, 112, 7, 7\)",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_files_of_another_kind_are_refused(tmp_path, how):
    name, spoil, why = SPOILED[how]
    content = small_medsam() if name == "medsam" else small_medsam2()
    spoil(content if name == "medsam" else content["model"])
    path = tmp_path / "spoiled.pth"
    torch.save(content, path)
    with pytest.raises(Refused, match=why) as refusal:
        FACTORIES[name].load(name, LoadRequest(weights=path))
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


# What is known without weights


def test_listed_with_dimension_and_licence():
    for name, factory in FACTORIES.items():
        assert find_plugin(ENCODERS, name).load() is factory
        spec = factory.spec(name)
        assert spec.licence == "Apache-2.0"
        assert spec.tower("image").dim == 256


def test_profiles_say_what_pixels_they_want():
    wants = {
        profile: medsam_factory.spec("medsam", profile).tower("image").wants for profile in MEDSAM.profiles
    }
    assert wants == {"photo": "display", "ct": "hu", "ct_training": "hu", "mr": "raw"}


def test_doctor_says_what_to_fetch_and_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name, file in (("medsam", "medsam_vit_b.pth"), ("medsam2:US_Heart", "MedSAM2_US_Heart.pt")):
        factory = FACTORIES[name.partition(":")[0]]
        report = factory.doctor(name, LoadRequest(weights_folder=tmp_path))
        assert report.state == "missing"
        for word in (file, "Apache-2.0", "EMBEDSTORE_WEIGHTS", "--weights"):
            assert word in report.remedy
        with pytest.raises(WeightsMissing, match=file):
            factory.load(name, LoadRequest(weights_folder=tmp_path))


def test_weights_are_found_in_the_folder_and_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "models--wanglab--MedSAM2" / "snapshots" / "0a1b" / "MedSAM2_latest.pt"
    for place in (cached, tmp_path / "MedSAM2_latest.pt"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"PK\x03\x04")
        report = medsam2_factory.doctor("medsam2", LoadRequest(weights_folder=tmp_path))
        assert (report.state, report.path) == ("present", str(place))


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "empty"), (b"<html>", "web page"), (b"RIFF", "not a PyTorch")]
)
def test_doctor_sees_that_a_download_went_wrong(tmp_path, content, why):
    path = tmp_path / "medsam_vit_b.pth"
    path.write_bytes(content)
    report = medsam_factory.doctor("medsam", LoadRequest(weights=path))
    assert report.state == "unusable"
    assert why in report.remedy


@pytest.mark.parametrize("profile", ["mri", "photo+cls", "default+nomem"])
def test_unknown_profiles_are_refused_with_those_there_are(profile):
    with pytest.raises(UsageError, match="photo, ct, ct_training, mr"):
        medsam_factory.spec("medsam", profile)
    assert MEDSAM2.file("medsam2:CTLesion") == "MedSAM2_CTLesion.pt"
    with pytest.raises(UsageError, match="latest, 2411"):
        medsam2_factory.spec("medsam2:tiny")


def test_other_precisions_are_refused(small):
    with pytest.raises(UsageError, match="fp32, not in bf16"):
        medsam_factory.load("medsam", LoadRequest(weights=small["medsam"], precision="bf16"))
