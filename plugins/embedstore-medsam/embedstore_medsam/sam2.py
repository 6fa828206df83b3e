"""MedSAM2's image encoder: SAM 2.1 Hiera-tiny at 512 pixels, by transformers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig
from transformers.models.sam2.modeling_sam2 import Sam2VisionModel

from embedstore_medsam.checkpoint import Checkpoint
from embedstore_medsam.model import CHANNELS

_PREFIX = "image_encoder."
_OTHERS = (
    "sam_prompt_encoder.",
    "sam_mask_decoder.",
    "memory_attention.",
    "memory_encoder.",
    "mask_downsample.",
    "maskmem_tpos_enc",
    "no_mem_embed",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
)
NAMES = (
    ("trunk.", "backbone."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    ("mlp.layers.0.", "mlp.proj_in."),
    ("mlp.layers.1.", "mlp.proj_out."),
    ("patch_embed.proj.", "patch_embed.projection."),
    *((f"neck.convs.{n}.conv.", f"neck.convs.{n}.") for n in range(4)),
)


class Sam2Map(nn.Module):
    """(n, 3, 512, 512) images to (n, 256, 32, 32): the coarsest of the three maps SAM 2 works with.

    `no_mem_embed` is not added.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises Refused for anything but SAM 2.1 with Hiera-tiny."""
        super().__init__()
        checkpoint.check_names(
            ("image_encoder.trunk.", "image_encoder.neck.", "sam_mask_decoder.", "memory_attention."),
            (_PREFIX, *_OTHERS),
        )
        no_memory = checkpoint.take("no_mem_embed")
        if no_memory.numel() != CHANNELS:
            raise checkpoint.refused(f"expected no_mem_embed of {CHANNELS} values, found {no_memory.numel()}")
        size = checkpoint.model.size
        config = Sam2VisionConfig(
            backbone_config=Sam2HieraDetConfig(image_size=[size, size]),
            backbone_feature_sizes=[[size // stride, size // stride] for stride in (4, 8, 16)],
        )
        with torch.device("meta"):
            self.encoder = Sam2VisionModel(config)
        checkpoint.fill(self.encoder, _PREFIX, NAMES)

    def forward(self, images: Tensor) -> Tensor:
        """The feature maps."""
        found: Tensor = self.encoder(images).fpn_hidden_states[-1]
        return found
