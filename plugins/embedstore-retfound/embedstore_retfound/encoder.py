"""A loaded RETFound: the shared image encoder around its network."""

from __future__ import annotations

from pathlib import Path

from embedstore_torch.encoder import ImageEncoder
from embedstore_torch.forward import forward_of
from embedstore_torch.sharing import Kept

from embedstore.contracts.encoder import EncoderSpec, LoadRequest, bind
from embedstore.fingerprint import file_sha256
from embedstore_retfound.checkpoint import read
from embedstore_retfound.family import Family
from embedstore_retfound.network import RetfoundNetwork


def load(template: EncoderSpec, family: Family, request: LoadRequest, path: Path) -> ImageEncoder:
    """Vectors are (n, width) float32, width 1024 in the official files.

    Raises Refused for a file that is not of the family, UsageError for a device that is not there.
    """
    profile, pooling = family.choose(request.profile)
    checkpoint = read(path, family)
    network = RetfoundNetwork(checkpoint, family, profile.size, pooling).eval()
    spec = bind(template, file_sha256(path), {"image": checkpoint.geometry.width}, request.precision)
    kept = Kept([path], lambda file: read(file, family).tensors)
    forward = forward_of(network, spec, request, (3, profile.size, profile.size), kept)
    return ImageEncoder(spec, forward, profile.recipe, request.threads)
