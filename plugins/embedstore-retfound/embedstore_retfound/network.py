"""The vision transformer itself, by timm, and the poolings that turn its tokens into one vector."""

from __future__ import annotations

from functools import partial

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from embedstore_retfound.checkpoint import Checkpoint
from embedstore_retfound.family import Family

_EPSILON = 1e-6


def resize_positions(positions: Tensor, size: int) -> Tensor:
    """(1, 1 + g * g, width) position table to (1, 1 + size * size, width), its CLS entry unchanged.

    Bicubic without antialias, as MAE's `interpolate_pos_embed`; timm's own resampling low-passes, which moves
    vectors by a tenth of their length.
    """
    cls, patches = positions[:, :1], positions[:, 1:]
    grid = round(patches.shape[1] ** 0.5)
    if grid == size:
        return positions
    picture = patches.reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    picture = functional.interpolate(picture, size=(size, size), mode="bicubic", align_corners=False)
    return torch.cat([cls, picture.permute(0, 2, 3, 1).reshape(1, size * size, -1)], dim=1)


class RetfoundNetwork(nn.Module):
    """(n, 3, size, size) prepared images to (n, width) vectors."""

    def __init__(self, checkpoint: Checkpoint, family: Family, size: int, pooling: str) -> None:
        super().__init__()
        geometry = checkpoint.geometry
        with torch.device("meta"):
            # Without a final norm: the vectors that need one apply it themselves, to the tokens they use.
            self.trunk = VisionTransformer(
                img_size=size,
                patch_size=family.patch,
                num_classes=0,
                global_pool="token",
                embed_dim=geometry.width,
                depth=geometry.depth,
                num_heads=geometry.heads,
                mlp_ratio=geometry.mlp_width / geometry.width,
                qkv_bias=True,
                init_values=1.0 if family.layer_scale else None,
                norm_layer=partial(nn.LayerNorm, eps=_EPSILON),
                final_norm=False,
                fc_norm=False,
                weight_init="skip",
            )
        tensors = dict(checkpoint.tensors)
        self._norm = nn.LayerNorm(geometry.width, eps=_EPSILON)
        norm = {key: tensors.pop(f"norm.{key}").clone() for key in ("weight", "bias")}
        self._norm.load_state_dict(norm, strict=True)
        tensors["pos_embed"] = resize_positions(tensors["pos_embed"], size // family.patch)
        # Cloned, so that nothing depends on the memory-mapped file any more.
        self.trunk.load_state_dict({k: v.clone() for k, v in tensors.items()}, strict=True, assign=True)
        self._pool = pooling

    def tokens(self, images: Tensor) -> Tensor:
        """(n, 1 + patches, width) tokens after the last block, before any norm."""
        found: Tensor = self.trunk.forward_features(images)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, size, size) to (n, width), by the pooling chosen (see `family`)."""
        tokens = self.tokens(images)
        if self._pool == "mean_fcnorm":
            return _plain_norm(tokens[:, 1:].mean(dim=1))
        tokens = self._norm(tokens)
        if self._pool == "patchmean_ln":
            return _plain_norm(tokens[:, 1:].mean(dim=1))
        cls: Tensor = tokens[:, 0]
        return cls


def _plain_norm(vectors: Tensor) -> Tensor:
    """LayerNorm with weight 1 and bias 0: the checkpoints have none of their own for pooled tokens."""
    return functional.layer_norm(vectors, vectors.shape[-1:], eps=_EPSILON)
