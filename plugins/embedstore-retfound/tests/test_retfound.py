"""RETFound: equal to the authors' code on the parity cases, strict about files, plain about what to fetch."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedstore_retfound import checkpoint as checkpoints
from embedstore_retfound import dinov2_factory, mae_factory, network
from embedstore_retfound.checkpoint import Geometry, expected_shapes
from embedstore_retfound.family import DINOV2, MAE, Family

from embedstore.contracts.encoder import LoadRequest
from embedstore.discovery import ENCODERS, find_plugin
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.testing.encoders import EncoderContract, sample_images

FACTORIES = {"retfound-mae": mae_factory, "retfound-dinov2": dinov2_factory}


def official_layout(family: Family, grid: int = 14) -> dict[str, Any]:
    """A small checkpoint of random tensors in the layout of the official files."""
    noise = torch.Generator().manual_seed(7)
    shapes = expected_shapes(Geometry(width=64, depth=2, mlp_width=128, grid=grid), family)
    state = {family.prefix + key: torch.randn(shape, generator=noise) * 0.2 for key, shape in shapes.items()}
    state |= {key: torch.zeros(1, 4) for key in family.required}
    companions = {"optimizer": {}, "epoch": 799, "args": argparse.Namespace(model="mae_vit_large_patch16")}
    return {family.weights_under: state, **(companions if family is MAE else {})}


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small checkpoints by encoder name."""
    folder = tmp_path_factory.mktemp("retfound")
    paths = {}
    for family in (MAE, DINOV2):
        paths[family.name] = folder / family.variants[0].files[0]
        torch.save(official_layout(family), paths[family.name])
    return paths


class TestMae(EncoderContract):
    factory = mae_factory
    name = "retfound-mae"
    entry = "embedstore_retfound:mae_factory"


class TestDinov2(EncoderContract):
    factory = dinov2_factory
    name = "retfound-dinov2"
    entry = "embedstore_retfound:dinov2_factory"


@pytest.fixture(autouse=True, scope="module")
def _small_weights_for_the_contract(small):
    for suite in (TestMae, TestDinov2):
        suite.request = LoadRequest(weights=small[suite.name], threads=1)


def test_profiles_and_poolings_are_spaces_of_their_own(small):
    for family in (MAE, DINOV2):
        name, factory = family.name, FACTORIES[family.name]
        spaces = {
            factory.load(name, LoadRequest(weights=small[name], profile=f"{profile}+{pooling}"))
            .spec.tower("image")
            .space
            for profile in family.profiles
            for pooling in family.poolings
        }
        assert len(spaces) == len(family.profiles) * len(family.poolings)


def test_epsilons_are_those_of_the_authors(small):
    """Vectors hardly show them, so they are looked up."""
    for family in (MAE, DINOV2):
        net = network.RetfoundNetwork(
            checkpoints.read(small[family.name], family), family, 224, next(iter(family.poolings))
        )
        norms = [module for module in net.modules() if isinstance(module, torch.nn.LayerNorm)]
        assert len(norms) == 5
        assert {norm.eps for norm in norms} == {1e-6}


# Files that are not of the family


def _without(state: dict[str, Any], key: str) -> None:
    del state[key]


def _renamed(state: dict[str, Any], key: str, other: str) -> None:
    state[other] = state.pop(key)


def _set(state: dict[str, Any], **tensors: torch.Tensor) -> None:
    state.update({key.replace("__", "."): tensor for key, tensor in tensors.items()})


SPOILED = {
    "a block is missing": (
        MAE,
        lambda s: [_without(s, k) for k in list(s) if k.startswith("blocks.0.")],
        "found width 64|expected a vision",
    ),
    "a tensor is missing": (
        MAE,
        lambda s: _without(s, "blocks.1.attn.qkv.bias"),
        "lacks blocks.1.attn.qkv.bias",
    ),
    "a tensor is renamed": (
        MAE,
        lambda s: _renamed(s, "blocks.1.norm1.bias", "blocks.1.ln1.bias"),
        r"lacks blocks.1.norm1.bias and has blocks.1.ln1.bias",
    ),
    "a shape is wrong": (
        MAE,
        lambda s: _set(s, blocks__1__mlp__fc2__bias=torch.zeros(65)),
        r"expected blocks.1.mlp.fc2.bias of \(64,\), found \(65,\)",
    ),
    "another patch size": (
        MAE,
        lambda s: _set(s, patch_embed__proj__weight=torch.zeros(64, 3, 14, 14)),
        r"\(64, 3, 16, 16\), found \(64, 3, 14, 14\)",
    ),
    "odd heads": (MAE, lambda s: _set(s, cls_token=torch.zeros(1, 1, 80)), "steps of 64"),
    "no square of positions": (MAE, lambda s: _set(s, pos_embed=torch.zeros(1, 190, 64)), "189 positions"),
    "fine-tuned, without decoder": (
        MAE,
        lambda s: [_without(s, "mask_token"), _without(s, "decoder_pos_embed")],
        "expected mask_token, decoder_pos_embed",
    ),
    "fine-tuned, with a head": (MAE, lambda s: _set(s, head__weight=torch.zeros(5, 64)), "has head.weight"),
    "chunked blocks": (
        DINOV2,
        lambda s: [_renamed(s, k, k.replace("blocks.", "blocks.0.")) for k in list(s) if "blocks." in k],
        "chunked",
    ),
    "register tokens": (
        DINOV2,
        lambda s: s.update({"backbone.register_tokens": torch.zeros(1, 4, 64)}),
        "has register_tokens",
    ),
    "a student beside it": (DINOV2, lambda s: s.update({"student.x": torch.zeros(1)}), "student.x"),
    "no layer scale": (
        DINOV2,
        lambda s: _without(s, "backbone.blocks.0.ls1.gamma"),
        "lacks blocks.0.ls1.gamma",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_files_of_another_kind_are_refused(tmp_path, how):
    family, spoil, why = SPOILED[how]
    content = official_layout(family)
    spoil(content[family.weights_under])
    path = tmp_path / "spoiled.pth"
    torch.save(content, path)
    with pytest.raises(Refused, match=why) as refusal:
        FACTORIES[family.name].load(family.name, LoadRequest(weights=path))
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


# What is known without weights


def test_listed_with_licence_variants_and_modality():
    for name, factory in FACTORIES.items():
        assert find_plugin(ENCODERS, name).load() is factory
        spec = factory.spec(name)
        assert spec.licence == "CC-BY-NC-4.0"
        assert spec.tower("image").published_dim == 1024
    assert mae_factory.spec("retfound-mae:natureOCT").modalities == ("OPT",)
    assert "RETFound_mae_natureOCT.pth" in mae_factory.spec("retfound-mae:natureOCT").source


@pytest.mark.parametrize("ask", ["retfound-mae:cfp", "retfound-mae:meh:x"])
def test_unknown_variants_are_refused_with_those_there_are(ask):
    with pytest.raises(UsageError, match="natureCFP, natureOCT, meh, shanghai"):
        mae_factory.spec(ask)


def test_other_precisions_are_other_spaces_and_onnx_is_not(small, tmp_path):
    path, images = small["retfound-mae"], sample_images()[:2]

    def load(**more):
        request = LoadRequest(weights=path, threads=1, cache=tmp_path, **more)
        return mae_factory.load("retfound-mae", request)

    exact, half, by_onnx = load(), load(precision="bf16"), load(runtime="onnx")
    assert half.spec.tower("image").space != exact.spec.tower("image").space
    assert by_onnx.spec == exact.spec
    assert np.abs(by_onnx.encode_images(images) - exact.encode_images(images)).max() < 1e-5
    with pytest.raises(UsageError, match="no precision 'fp8'"):
        load(precision="fp8")


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """A machine whose Hugging Face cache is empty."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_doctor_says_what_to_fetch_and_where_to_put_it(no_cache, tmp_path):
    report = mae_factory.doctor("retfound-mae:meh", LoadRequest(weights_folder=tmp_path))
    assert report.state == "missing"
    for word in ("RETFound_mae_meh.pth", "gated", "CC BY-NC 4.0", "EMBEDSTORE_WEIGHTS", "--weights"):
        assert word in report.remedy
    assert str(tmp_path / "RETFound_mae_meh.pth") in report.searched
    with pytest.raises(WeightsMissing, match=r"huggingface\.co/YukunZhou/RETFound_mae_meh"):
        mae_factory.load("retfound-mae:meh", LoadRequest(weights_folder=tmp_path))


def test_weights_are_found_by_folder_by_old_name_and_in_the_cache(no_cache, tmp_path, small):
    data = small["retfound-mae"].read_bytes()
    snapshot = no_cache / "models--YukunZhou--RETFound_mae_natureCFP" / "snapshots" / "0a1b"
    places = [snapshot / "RETFound_mae_natureCFP.pth", tmp_path / "RETFound_cfp_weights.pth"]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        report = mae_factory.doctor("retfound-mae", LoadRequest(weights_folder=tmp_path))
        assert (report.state, report.path) == ("present", str(place))
    spec = mae_factory.load("retfound-mae", LoadRequest(weights=tmp_path)).spec
    named = mae_factory.load("retfound-mae", LoadRequest(weights=small["retfound-mae"])).spec
    assert spec.towers == named.towers


def test_doctor_names_other_variants_that_are_here(no_cache, tmp_path):
    (tmp_path / "RETFound_mae_natureOCT.pth").write_bytes(b"PK\x03\x04")
    report = mae_factory.doctor("retfound-mae", LoadRequest(weights_folder=tmp_path))
    assert report.state == "missing"
    assert "retfound-mae:natureOCT" in report.remedy


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"<!doctype html>", "terms have to be accepted"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"RIFF", "not a PyTorch checkpoint"),
    ],
)
def test_doctor_sees_that_a_download_went_wrong(tmp_path, content, why):
    path = tmp_path / "RETFound_mae_natureCFP.pth"
    path.write_bytes(content)
    report = mae_factory.doctor("retfound-mae", LoadRequest(weights=path))
    assert report.state == "unusable"
    assert why in report.remedy


def test_a_named_file_that_is_not_there_is_not_replaced_by_another(tmp_path, small):
    wanted = LoadRequest(weights=tmp_path / "typo.pth", weights_folder=small["retfound-mae"].parent)
    assert mae_factory.doctor("retfound-mae", wanted).state == "missing"
    with pytest.raises(WeightsMissing, match=r"no such weights: .*typo\.pth"):
        mae_factory.load("retfound-mae", wanted)
    assert mae_factory.doctor("retfound-mae", replace(wanted, weights=None)).state == "present"
