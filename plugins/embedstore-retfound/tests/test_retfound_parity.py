"""RETFound: equal to the authors' code on the parity cases, and wrong choices would be noticed."""

from __future__ import annotations

import pytest
import torch
from embedstore_retfound import checkpoint as checkpoints
from embedstore_retfound import dinov2_factory, mae_factory, network
from embedstore_retfound.family import DINOV2, MAE
from torch.nn import functional

from embedstore.contracts.encoder import LoadRequest
from embedstore.contracts.image import Image, ImageInput
from embedstore.encoders.preprocess import Normalize, Recipe, Resize

FACTORIES = {"retfound-mae": mae_factory, "retfound-dinov2": dinov2_factory}
CASES = {"retfound-mae": "retfound_mae_tiny", "retfound-dinov2": "retfound_dinov2_tiny"}
PROFILES = [
    (family.name, profile, pooling)
    for family in (MAE, DINOV2)
    for profile in family.profiles
    for pooling in family.poolings
]


def _load(case, name: str, profile: str):
    return FACTORIES[name].load(name, LoadRequest(weights=case.checkpoint, profile=profile, threads=1))


def _input(case, name: str) -> ImageInput:
    return ImageInput(Image(case.images[name], "display"))


@pytest.mark.parametrize(("name", "profile", "pooling"), PROFILES)
def test_equals_the_reference(parity, name, profile, pooling):
    case = parity(CASES[name])
    encoder = _load(case, name, f"{profile}+{pooling}")
    prepared = encoder.prepare_image(_input(case, "photo"))
    assert case.off_in_preprocessing(profile, prepared).max() <= case.tolerance["preprocess"]
    assert prepared.mean(axis=(1, 2)) == pytest.approx(case.expected[f"{profile}/pre_mean"], abs=1e-4)
    assert prepared.std(axis=(1, 2)) == pytest.approx(case.expected[f"{profile}/pre_std"], abs=1e-4)
    net = f"net{prepared.shape[-1]}"
    vector = encoder.forward_images(case.images[net][None])[0]
    assert case.off(f"{net}/{pooling}", vector) <= case.tolerance["vector"]
    vector = encoder.encode_images([_input(case, "photo")])[0]
    assert case.off(f"{profile}/{pooling}", vector) <= case.tolerance["vector"]


@pytest.mark.parametrize(("name", "pooling"), [("retfound-mae", "mean_fcnorm"), ("retfound-dinov2", "cls")])
def test_the_default_profile_is_the_authors_evaluation(parity, name, pooling):
    case = parity(CASES[name])
    by_default, by_name = _load(case, name, "default"), _load(case, name, f"finetune224+{pooling}")
    assert by_default.spec.towers == by_name.spec.towers
    assert by_default.spec.tower("image").dim == case.data["config"]["embed_dim"]


WRONG_STEPS = {
    "bilinear": (1, Resize(size=(256, 256), mode="shortest", interpolation="bilinear")),
    "resize 248 as timm's config": (1, Resize(size=(248, 248), mode="shortest")),
    "squash": (1, Resize(size=(224, 224), mode="squash")),
    "no antialias": (1, Resize(size=(256, 256), mode="shortest", antialias=False, library="scipy")),
    "mean and std of 0.5 as timm's config": (5, Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)),
}


@pytest.mark.parametrize("wrong", WRONG_STEPS)
def test_other_preprocessing_would_be_noticed(parity, wrong):
    case = parity(CASES["retfound-mae"])
    encoder = _load(case, "retfound-mae", "default")
    steps = list(MAE.profiles["finetune224"].recipe.steps)
    position, steps[position] = WRONG_STEPS[wrong]
    prepared = Recipe(tuple(steps)).apply(_input(case, "photo"))
    assert case.off_in_preprocessing("finetune224", prepared).max() > case.tolerance["preprocess"]
    vector = encoder.forward_images(prepared[None])[0]
    assert case.off("finetune224/mean_fcnorm", vector) > case.tolerance["vector"]


def _antialiased(positions: torch.Tensor, size: int) -> torch.Tensor:
    grid = round((positions.shape[1] - 1) ** 0.5)
    picture = positions[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    picture = functional.interpolate(picture, size=(size, size), mode="bicubic", antialias=True)
    return torch.cat([positions[:, :1], picture.flatten(2).transpose(1, 2)], dim=1)


def test_an_antialiased_position_table_would_be_noticed(parity, monkeypatch):
    case = parity(CASES["retfound-dinov2"])
    monkeypatch.setattr(network, "resize_positions", _antialiased)
    vector = _load(case, "retfound-dinov2", "default").forward_images(case.images["net224"][None])[0]
    assert case.off("net224/cls", vector) > 100 * case.tolerance["vector"]


def test_heads_of_another_width_would_be_noticed(parity, monkeypatch):
    case = parity(CASES["retfound-mae"])
    monkeypatch.setattr(checkpoints, "HEAD_WIDTH", 32)
    vector = _load(case, "retfound-mae", "default").forward_images(case.images["net224"][None])[0]
    assert case.off("net224/mean_fcnorm", vector) > 100 * case.tolerance["vector"]


def test_other_poolings_would_be_noticed(parity):
    case = parity(CASES["retfound-mae"])
    tensors = checkpoints.read(case.checkpoint, MAE)
    net = network.RetfoundNetwork(tensors, MAE, 224, "mean_fcnorm").eval()
    norm = [tensors.tensors["norm.weight"], tensors.tensors["norm.bias"]]
    with torch.inference_mode():
        tokens = net.tokens(torch.from_numpy(case.images["net224"][None]))
        mean = tokens[:, 1:].mean(dim=1)
        wrong = {
            "MAE's norm as fc_norm": functional.layer_norm(mean, mean.shape[-1:], *norm, eps=1e-6),
            "no norm": mean,
            "mean of normed patches": functional.layer_norm(
                tokens[:, 1:], mean.shape[-1:], *norm, eps=1e-6
            ).mean(1),
            "CLS in the mean": functional.layer_norm(tokens.mean(1), mean.shape[-1:], eps=1e-6),
        }
    for why, vector in wrong.items():
        off = case.off("net224/mean_fcnorm", vector[0].numpy())
        assert off > 10 * case.tolerance["vector"], why
