"""The last block of a vision transformer of which one token is used."""

from __future__ import annotations

from typing import Any

from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn


def shorten(tower: Any) -> None:
    """Let an open_clip image tower compute in its last block what its vector is made of, and no more.

    The vector is the class token's; after the last attention nothing reads the other tokens. They are a
    twelfth of what ViT-B/32 computes, less the keys and values that the class token still asks for. The sums
    that are left are the same ones. A tower that pools otherwise, gives its tokens away or has other blocks
    stays as it is.
    """
    if not isinstance(tower, VisionTransformer) or tower.pool_type != "tok" or tower.output_tokens:
        return
    blocks = tower.transformer.resblocks
    if (
        tower.attn_pool is None
        and type(blocks[-1]) is ResidualAttentionBlock
        and tower.transformer.batch_first
    ):
        blocks[-1] = _ClassTokenBlock(blocks[-1])


class _ClassTokenBlock(nn.Module):
    """(n, tokens, width) to (n, 1, width): the block's output at the first token."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, tokens: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """attn_mask: image towers have none."""
        block, normed = self.block, self.block.ln_1(tokens)
        attended = block.attention(normed[:, :1], normed, normed, attn_mask)
        token = tokens[:, :1] + block.ls_1(attended)
        found: Tensor = token + block.ls_2(block.mlp(block.ln_2(token)))
        return found
