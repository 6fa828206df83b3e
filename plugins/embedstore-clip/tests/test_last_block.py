"""The last block computes the class token alone where nothing else is read; the vectors are the library's."""

from __future__ import annotations

import pytest
import torch
from embedstore_clip.last_block import shorten
from open_clip.transformer import VisionTransformer
from torch.utils.flop_counter import FlopCounterMode

WIDTH, LAYERS = 32, 3


def tower(**options):
    torch.manual_seed(0)
    return VisionTransformer(
        image_size=32,
        patch_size=8,
        width=WIDTH,
        layers=LAYERS,
        heads=2,
        mlp_ratio=4.0,
        output_dim=16,
        **options,
    ).eval()


def flops(model, images):
    with FlopCounterMode(display=False) as counter:
        model(images)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "options", [{}, {"ls_init_value": 0.1}, {"final_ln_after_pool": True}, {"pos_embed_type": "sin_cos_2d"}]
)
def test_the_vectors_are_the_same_and_cost_less(options):
    whole, short = tower(**options), tower(**options)
    shorten(short)
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(short(images), whole(images), atol=1e-6)
    tokens = 17
    # Of a block's 12 parts of work, width squared a token each, 10 are done for one token instead of all.
    spared = 3 * (tokens - 1) * 10 * 2 * WIDTH**2
    assert flops(whole, images) - flops(short, images) >= spared


@pytest.mark.parametrize(
    "options",
    [{"pool_type": "avg"}, {"attentional_pool": True, "attn_pooler_heads": 2}, {"output_tokens": True}],
)
def test_a_tower_that_reads_every_token_is_left_alone(options):
    whole, left = tower(**options), tower(**options)
    shorten(left)
    images = torch.randn(2, 3, 32, 32)
    assert flops(whole, images) == flops(left, images)
