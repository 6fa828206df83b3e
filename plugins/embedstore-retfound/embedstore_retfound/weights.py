"""RETFound's checkpoints as the shared search for weights knows them. torch is not imported."""

from __future__ import annotations

from embedstore.contracts.encoder import LoadRequest
from embedstore.encoders.weights import Official
from embedstore_retfound.family import Family, Variant


def official(variant: Variant) -> Official:
    """A variant's file: gated, so that the terms come before the download."""
    file = variant.files[0]
    return Official(
        files=variant.files,
        obtain=f"accept its terms (gated; CC BY-NC 4.0, no commercial use) at huggingface.co/"
        f"{variant.repository}, download {file},",
        repository=variant.repository,
        gated=True,
    )


def others_here(family: Family, variant: Variant, request: LoadRequest) -> str:
    """The end of a remedy: which other variants are on this machine."""
    others = [
        f"{family.name}:{other.name}"
        for other in family.variants
        if other is not variant and official(other).is_here(request)
    ]
    return f"; weights that are here: {', '.join(others)}" if others else ""
