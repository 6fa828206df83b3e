"""A TorchScript archive as an encoder. It is a program, and runs only when it is trusted."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from embedstore.contracts.encoder import EncoderSpec, LoadRequest
from embedstore.encoders.weights import is_torchscript, require_trust
from embedstore.errors import Refused, UsageError
from embedstore_torch.binding import bind_file
from embedstore_torch.encoder import ImageEncoder
from embedstore_torch.files import plain_recipe, read_recipe
from embedstore_torch.forward import Eager
from embedstore_torch.loading import by_onnx, check_request, input_shape


def load(template: EncoderSpec, path: Path, request: LoadRequest) -> ImageEncoder:
    """Raises Refused: not TorchScript, not trusted, or no network of images; UsageError."""
    check_request(template.name, request)
    if by_onnx(request):
        raise UsageError("a TorchScript file runs by torch, in fp32, bf16 or fp16; ONNX can do more")
    if not is_torchscript(path):
        raise Refused(f"{path} is not a TorchScript archive; weights alone need a plugin for their network")
    require_trust(path, request.trust, "export the network to ONNX, which is data, and say onnx:FILE")
    recipe = read_recipe(path) or plain_recipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the format deprecated; the file has it nonetheless
        try:
            network: Any = torch.jit.load(path, map_location="cpu").eval()
            with torch.inference_mode():
                vectors = network(torch.zeros(1, *input_shape(recipe)))
        except RuntimeError as error:
            raise Refused(f"{path} does not run: {str(error).strip().splitlines()[-1][:200]}") from error
    if not isinstance(vectors, torch.Tensor) or vectors.ndim != 2:
        raise Refused(f"{path} does not give one vector an image: expected (n, dim)")
    spec = bind_file(template, path, recipe, vectors.shape[1], request.precision)
    forward = Eager(network, request.device, request.precision)
    forward.set_threads(request.threads)
    return ImageEncoder(spec, forward, recipe, request.threads)
