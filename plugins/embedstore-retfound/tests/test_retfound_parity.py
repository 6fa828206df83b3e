"""RETFound: equal to the authors' code on the parity cases, and wrong choices would be noticed.

How far a wrong choice lands is stated beside it, as the case's page measured it on the reference code; here
it has to land there too (within a factor), which shows that it is that choice and not another mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from embedstore_retfound import checkpoint as checkpoints
from embedstore_retfound import dinov2_factory, mae_factory, network
from embedstore_retfound.family import DINOV2, MAE
from embedstore_retfound.network import RetfoundNetwork
from torch.nn import functional

from embedstore.encoders.preprocess import Normalize, Recipe, Resize, ZScore
from tests import parity as cases

FACTORIES = {"retfound-mae": mae_factory, "retfound-dinov2": dinov2_factory}
FAMILIES = {"retfound-mae": MAE, "retfound-dinov2": DINOV2}
PROFILES = [(name, profile) for name in FACTORIES for profile in cases.SUBJECTS[name].profiles]
NETWORKS = [("retfound-mae", "net224"), ("retfound-mae", "net384"), ("retfound-dinov2", "net224")]
_FACTOR = 1.15


@pytest.mark.parametrize(("name", "profile"), PROFILES)
def test_preprocessing_equals_the_reference(parity, name, profile):
    found = cases.preprocessing(parity(name), FACTORIES[name], profile)
    assert found.off <= found.allowed, found


@pytest.mark.parametrize(("name", "profile"), NETWORKS)
def test_networks_equal_the_reference(parity, name, profile):
    found = list(cases.network(parity(name), FACTORIES[name], profile))
    assert len(found) == 2
    assert all(one.off <= one.allowed for one in found), found


@pytest.mark.parametrize(("name", "profile"), PROFILES)
def test_vectors_equal_the_reference(parity, name, profile):
    found = list(cases.vectors(parity(name), FACTORIES[name], profile))
    assert len(found) == 2
    assert all(one.off <= one.allowed for one in found), found


def test_every_profile_and_pooling_is_held_against_the_reference():
    for name, family in FAMILIES.items():
        subject = cases.SUBJECTS[name]
        assert set(subject.profiles.values()) == set(family.profiles)
        assert {pooling for pooling, _ in subject.vectors.values()} == set(family.poolings)


def test_the_default_profile_is_the_authors_evaluation(parity):
    for name, pooling in (("retfound-mae", "mean_fcnorm"), ("retfound-dinov2", "cls")):
        case = parity(name)
        by_default = case.encoder(FACTORIES[name], "default", pooling)
        by_name = case.encoder(FACTORIES[name], "finetune224", pooling)
        assert by_default.spec.towers == by_name.spec.towers
        assert by_default.spec.tower("image").dim == case.data["config"]["embed_dim"]


def test_position_tables_are_resized_as_the_reference_does(parity):
    for name, size, patches in (("retfound-mae", 384, 24), ("retfound-dinov2", 224, 16)):
        case = parity(name)
        table = checkpoints.read(case.checkpoint, FAMILIES[name]).tensors["pos_embed"]
        found = network.resize_positions(table, patches)[0, ::40, ::8].numpy()
        assert case.off(f"positions/resized_to_{size}", found) <= 1e-5


# Wrong choices: of preprocessing. Each replaces one step of a profile's recipe.


@dataclass(frozen=True)
class WrongStep:
    encoder: str
    profile: str
    position: int
    step: object
    published: float


class _Unsmoothed:
    """The shorter side to 256 by torch's bicubic interpolation, which does not low-pass unless asked."""

    def apply(self, pixels, context):
        height, width = Resize(size=(256, 256), mode="shortest").target(*pixels.shape[:2])
        picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
        small = functional.interpolate(picture, size=(height, width), mode="bicubic")
        return small[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


_HALF = Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
WRONG_STEPS = {
    "bilinear": WrongStep(
        "retfound-mae",
        "finetune224",
        1,
        Resize(size=(256,) * 2, mode="shortest", interpolation="bilinear"),
        6e-3,
    ),
    "shorter side 248, as timm's crop of 0.9": WrongStep(
        "retfound-mae", "finetune224", 1, Resize(size=(248, 248), mode="shortest"), 0.088
    ),
    "squash for crop": WrongStep("retfound-mae", "finetune224", 1, Resize(size=(224, 224)), 0.41),
    "no antialias": WrongStep("retfound-mae", "finetune224", 1, _Unsmoothed(), 0.024),
    "mean and std of 0.5, as timm's config": WrongStep("retfound-mae", "finetune224", 5, _HALF, 0.72),
    "margin kept at 384": WrongStep(
        "retfound-mae", "finetune384", 1, Resize(size=(439, 439), mode="shortest"), 0.22
    ),
    "z-score over all channels": WrongStep("retfound-mae", "zscore224", 4, ZScore(per_channel=False), 3.7),
    "squash for crop, DINOv2": WrongStep("retfound-dinov2", "finetune224", 1, Resize(size=(224, 224)), 0.48),
}


@pytest.mark.parametrize("how", WRONG_STEPS)
def test_other_preprocessing_would_be_noticed(parity, how):
    wrong = WRONG_STEPS[how]
    case, pooling = parity(wrong.encoder), next(iter(FAMILIES[wrong.encoder].poolings))
    encoder = case.encoder(FACTORIES[wrong.encoder], wrong.profile, pooling)
    steps = list(FAMILIES[wrong.encoder].profiles[wrong.profile].recipe.steps)
    steps[wrong.position] = wrong.step
    (image,) = case.inputs(wrong.profile)
    prepared = Recipe(tuple(steps)).apply(image)
    assert case.off_in_preprocessing(wrong.profile, prepared) > case.tolerance["preprocess"]
    off = case.off(f"{wrong.profile}/{pooling}", encoder.forward_images(prepared[None]))
    _lands(case, off, wrong.published)


def _lands(case, off: float, published: float) -> None:
    assert off > case.tolerance["vector"]
    assert published / _FACTOR <= off <= published * _FACTOR, f"{off:.2g} where {published:.2g} was published"


# Wrong choices: of loading.


def _resized(positions, size, mode="bicubic", antialias=False, offset=0.0):
    grid = round((positions.shape[1] - 1) ** 0.5)
    picture = positions[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    if offset:
        factor = (size + offset) / grid
        picture = functional.interpolate(picture, scale_factor=(factor, factor), mode=mode)
    else:
        picture = functional.interpolate(picture, size=(size, size), mode=mode, antialias=antialias)
    return torch.cat([positions[:, :1], picture.flatten(2).transpose(1, 2)], dim=1)


WRONG_POSITIONS = {
    ("retfound-mae", "finetune384", "antialiased"): (partial(_resized, antialias=True), 9e-3),
    ("retfound-mae", "finetune384", "bilinear"): (partial(_resized, mode="bilinear"), 0.034),
    ("retfound-dinov2", "finetune224", "antialiased"): (partial(_resized, antialias=True), 0.12),
    ("retfound-dinov2", "finetune224", "bilinear"): (partial(_resized, mode="bilinear"), 0.044),
    ("retfound-dinov2", "finetune224", "offset"): (partial(_resized, offset=0.1), 0.026),
}


@pytest.mark.parametrize("how", WRONG_POSITIONS, ids="-".join)
def test_other_position_tables_would_be_noticed(parity, monkeypatch, how):
    name, profile, _ = how
    resize, published = WRONG_POSITIONS[how]
    monkeypatch.setattr(network, "resize_positions", resize)
    net, pooling = _network(parity(name), name, size=int(profile.removeprefix("finetune")))
    _lands(
        parity(name), parity(name).off(f"{profile}/{pooling}", _run(net, parity(name), profile)), published
    )


def _network(case, name, size=224, change: Callable[[dict], None] | None = None, **geometry):
    """The network, its checkpoint or geometry changed on the way, and its default pooling."""
    family = FAMILIES[name]
    read = checkpoints.read(case.checkpoint, family)
    if change is not None:
        change(read.tensors)
    read = replace(read, geometry=replace(read.geometry, **geometry))
    pooling = next(iter(family.poolings))
    return RetfoundNetwork(read, family, size, pooling).eval(), pooling


def _prepared(case, profile):
    recipe = FAMILIES[case.subject.encoder].profiles[profile].recipe
    return torch.from_numpy(np.stack([recipe.apply(one) for one in case.inputs(profile)]))


def _run(net, case, profile):
    with torch.inference_mode():
        return net(_prepared(case, profile)).numpy()


@pytest.mark.parametrize(("name", "published"), [("retfound-mae", 0.42), ("retfound-dinov2", 0.34)])
def test_heads_of_another_width_would_be_noticed(parity, monkeypatch, name, published):
    monkeypatch.setattr(checkpoints, "HEAD_WIDTH", 32)
    net, pooling = _network(parity(name), name)
    _lands(
        parity(name),
        parity(name).off(f"finetune224/{pooling}", _run(net, parity(name), "finetune224")),
        published,
    )


def _without_layer_scale(tensors):
    for key in tensors:
        if key.endswith(".gamma"):
            tensors[key] = torch.ones_like(tensors[key])


def _never_arrived(tensors):
    noise = torch.Generator().manual_seed(3)
    for key, value in tensors.items():
        plain = value.ndim < 2
        tensors[key] = value * 0 + (key.endswith("weight")) if plain else torch.randn(
            value.shape, generator=noise
        ) * 0.02  # fmt: skip


@pytest.mark.parametrize(("change", "published"), [(_without_layer_scale, 1.0), (_never_arrived, 4.6)])
def test_tensors_that_do_not_arrive_would_be_noticed(parity, change, published):
    """The second is what the official notebook does: strict=False, and no key matches."""
    case = parity("retfound-dinov2")
    net, pooling = _network(case, "retfound-dinov2", change=change)
    _lands(case, case.off(f"finetune224/{pooling}", _run(net, case, "finetune224")), published)


# Wrong choices: of pooling.


def _plain(tokens):
    return functional.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)


WRONG_POOLINGS = {
    ("retfound-mae", "mean_fcnorm"): {
        "MAE's norm as fc_norm": (lambda t, norm: norm(t[:, 1:].mean(1)), 0.49),
        "CLS": (lambda t, norm: norm(t)[:, 0], 1.7),
        "mean of normed patches": (lambda t, norm: norm(t)[:, 1:].mean(1), 0.56),
        "no norm": (lambda t, norm: t[:, 1:].mean(1), 4.6),
        "CLS in the mean": (lambda t, norm: _plain(t.mean(1)), 7e-3),
    },
    ("retfound-dinov2", "cls"): {"before the norm": (lambda t, norm: t[:, 0], 1.5)},
    ("retfound-dinov2", "patchmean_ln"): {
        "without the second norm": (lambda t, norm: norm(t)[:, 1:].mean(1), 0.29),
        "of un-normed patches": (lambda t, norm: _plain(t[:, 1:].mean(1)), 0.37),
        "with CLS": (lambda t, norm: _plain(norm(t).mean(1)), 0.011),
    },
}


@pytest.mark.parametrize(
    ("subject", "how"), [(subject, how) for subject, ways in WRONG_POOLINGS.items() for how in ways]
)
def test_other_poolings_would_be_noticed(parity, subject, how):
    name, pooling = subject
    pool, published = WRONG_POOLINGS[subject][how]
    case = parity(name)
    net, _ = _network(case, name)
    with torch.inference_mode():
        vector = pool(net.tokens(_prepared(case, "finetune224")), net._norm).numpy()
    _lands(case, case.off(f"finetune224/{pooling}", vector), published)


def test_masked_and_shuffled_patches_would_be_noticed(parity):
    """What transformers' ViTMAE does unless told otherwise: three patches of four are left out."""
    case = parity("retfound-mae")
    net, pooling = _network(case, "retfound-mae")
    kept = torch.from_numpy(np.random.default_rng(0).permutation(196)[:49])
    with torch.inference_mode():
        patches = net.trunk.patch_embed(_prepared(case, "finetune224")) + net.trunk.pos_embed[:, 1:]
        first = net.trunk.cls_token + net.trunk.pos_embed[:, :1]
        tokens = net.trunk.blocks(torch.cat([first, patches[:, kept]], dim=1))
    assert (
        case.off(f"finetune224/{pooling}", _plain(tokens[:, 1:].mean(1)).numpy())
        > 100 * case.tolerance["vector"]
    )
