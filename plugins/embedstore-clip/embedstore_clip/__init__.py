"""CLIP-like dual encoders for embedstore: any open_clip model, and transformers' CLIP and SigLIP folders."""

from embedstore_clip.medical import BiomedClipFactory, MedSiglipFactory
from embedstore_clip.open_clip_factory import OpenClipFactory
from embedstore_clip.transformers_factory import TransformersFactory

open_clip_factory = OpenClipFactory()
transformers_factory = TransformersFactory()
biomedclip_factory = BiomedClipFactory()
medsiglip_factory = MedSiglipFactory()

__all__ = [
    "BiomedClipFactory",
    "MedSiglipFactory",
    "OpenClipFactory",
    "TransformersFactory",
    "biomedclip_factory",
    "medsiglip_factory",
    "open_clip_factory",
    "transformers_factory",
]
