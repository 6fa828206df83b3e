"""MedSAM's image encoder: SAM's vision transformer by transformers, filled from a SAM state dict."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.models.sam.configuration_sam import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from embedstore_medsam.checkpoint import Checkpoint
from embedstore_medsam.model import CHANNELS

HEAD_WIDTH = 64
_PATCH = 16
_PREFIX = "image_encoder."
_BLOCK = re.compile(r"image_encoder\.blocks\.(\d+)\.")
# The neck first: its norms are told from those of the blocks by what stands before them.
NAMES = (
    ("neck.0.", "neck.conv1."),
    ("neck.1.", "neck.layer_norm1."),
    ("neck.2.", "neck.conv2."),
    ("neck.3.", "neck.layer_norm2."),
    ("blocks.", "layers."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    ("patch_embed.proj.", "patch_embed.projection."),
)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Of SAM's encoder, read from its tensors.

    window: cells per side of a window. wide: blocks without windows, which attend to the whole map.
    """

    width: int
    depth: int
    mlp_width: int
    window: int
    wide: tuple[int, ...]


class SamMap(nn.Module):
    """(n, 3, 1024, 1024) images to (n, 256, 64, 64) feature maps, the neck's output."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises Refused for anything but a SAM state dict with a ViT of 1024 pixel input."""
        super().__init__()
        checkpoint.check_names(
            ("image_encoder.neck.", "prompt_encoder.", "mask_decoder."),
            (_PREFIX, "prompt_encoder.", "mask_decoder."),
        )
        geometry = read_geometry(checkpoint)
        config = SamVisionConfig(
            hidden_size=geometry.width,
            output_channels=CHANNELS,
            num_hidden_layers=geometry.depth,
            num_attention_heads=geometry.width // HEAD_WIDTH,
            image_size=checkpoint.model.size,
            patch_size=_PATCH,
            mlp_dim=geometry.mlp_width,
            window_size=geometry.window,
            global_attn_indexes=list(geometry.wide),
        )
        with torch.device("meta"):
            self.encoder = SamVisionEncoder(config)
        checkpoint.fill(self.encoder, _PREFIX, NAMES)

    def forward(self, images: Tensor) -> Tensor:
        """The feature maps."""
        found: Tensor = self.encoder(images).last_hidden_state
        return found


def read_geometry(checkpoint: Checkpoint) -> Geometry:
    """Width, depth, windows and which blocks attend globally, all from the shapes. Raises Refused."""
    grid = checkpoint.model.grid
    positions = tuple(checkpoint.take("image_encoder.pos_embed").shape)
    if len(positions) != 4 or positions[1:3] != (grid, grid) or positions[3] % HEAD_WIDTH:
        raise checkpoint.refused(
            f"expected a position table of (1, {grid}, {grid}, a multiple of {HEAD_WIDTH}), found {positions}"
        )
    blocks = {int(match[1]) for key in checkpoint.tensors if (match := _BLOCK.match(key))}
    if not blocks or blocks != set(range(len(blocks))):
        raise checkpoint.refused(f"expected blocks without gaps, found {sorted(blocks)}")
    reach = {n: _reach(checkpoint, n) for n in blocks}
    windows = {size for size in reach.values() if size != grid}
    if len(windows) > 1:
        raise checkpoint.refused(f"expected windows of one size, found {sorted(windows)}")
    mlp_width = checkpoint.take("image_encoder.blocks.0.mlp.lin1.weight").shape[0]
    wide = tuple(sorted(n for n, size in reach.items() if size == grid))
    return Geometry(positions[3], len(blocks), mlp_width, next(iter(windows), 14), wide)


def _reach(checkpoint: Checkpoint, block: int) -> int:
    """Cells per side that a block attends to: its relative positions are 2 * reach - 1."""
    return (checkpoint.take(f"image_encoder.blocks.{block}.attn.rel_pos_h").shape[0] + 1) // 2
