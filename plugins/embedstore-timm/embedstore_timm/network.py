"""timm's models with the weights that were found, every tensor of which is used or known to be of no use."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import timm
import torch
from embedstore_torch.encoder import ImageEncoder
from embedstore_torch.forward import forward_of
from embedstore_torch.loading import input_shape
from embedstore_torch.sharing import Kept
from embedstore_torch.tensors import read_tensors
from timm.data import resolve_data_config
from torch import Tensor, nn

from embedstore.contracts.encoder import EncoderSpec, LoadRequest, bind
from embedstore.encoders.weights import some
from embedstore.errors import Refused, UsageError
from embedstore.fingerprint import digest, file_sha256
from embedstore_timm.places import PLUGIN, Located, Named, data_of
from embedstore_timm.recipes import Profile, from_timm

_UNUSED = ("mask_token",)  # of masked training; no forward pass reads it
_DECIDING = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")


def load(template: EncoderSpec, named: Named, located: Located, request: LoadRequest) -> ImageEncoder:
    """The encoder, its spec bound. Raises Refused when the file does not fit, UsageError for the name."""
    profile = Profile.parse(request.profile)
    architecture, arguments, data = _described(named, located)
    recipe = from_timm(data, profile)
    network = _create(architecture, arguments, profile)
    _fill(network, read_tensors(located.file), located, data)
    network.eval()
    shape = input_shape(recipe)
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None) or (1, 1)
    if shape[1] % patch[0] or shape[2] % patch[1]:  # timm drops the rest without a word
        raise UsageError(
            f"{architecture} does not take {shape[1]}x{shape[2]}: sides are multiples of {patch[0]}"
        )
    try:
        with torch.inference_mode():
            vectors = network(torch.zeros(1, *shape))
    except (AssertionError, RuntimeError) as error:
        raise UsageError(
            f"{architecture} does not take {shape[1]}x{shape[2]}: {_first_line(error)}"
        ) from error
    if vectors.ndim != 2:
        raise UsageError(f"{architecture} gives a map, not a vector; ask for another pooling: +token or +avg")
    image = template.towers[0]
    pooling = profile.pooling or getattr(network, "global_pool", "") or "avg"
    tower = replace(image, preprocess=recipe.to_json(), pooling=f"timm's '{pooling}'")
    sha256 = digest({"checkpoint": file_sha256(located.file), "model": architecture, "arguments": arguments})
    # Named after the plugin: the same files under another name are the same space.
    spec = bind(
        replace(template, name=PLUGIN, towers=(tower,)),
        sha256,
        {"image": vectors.shape[1]},
        request.precision,
    )
    spec = replace(spec, name=template.name)
    forward = forward_of(network, spec, request, shape, Kept([located.file]))
    return ImageEncoder(spec, forward, recipe, request.threads)


def _described(named: Named, located: Located) -> tuple[str, dict[str, Any], Mapping[str, Any]]:
    """Architecture, arguments of its function, data configuration: of the `config.json`, else by name."""
    if located.config:
        architecture = str(located.config["architecture"])
        wanted = named.model.partition(".")[0]
        if wanted and wanted != architecture:
            raise Refused(f"{located.file} is of the model {architecture}, not of {wanted}")
        return architecture, dict(located.config.get("model_args") or {}), data_of(located.config)
    if not named.model:
        raise Refused(f"{located.file.parent} has no config.json of timm; fetch it from the same repository")
    architecture, _, tag = named.model.partition(".")
    if architecture not in timm.list_models():
        near = " or ".join(get_close_matches(architecture, timm.list_models(), n=3))
        raise UsageError(f"timm knows no model '{architecture}'{f'; did you mean {near}?' if near else ''}")
    return architecture, {}, _by_tag(architecture, tag)


def _by_tag(architecture: str, tag: str) -> Mapping[str, Any]:
    known = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in known:
        raise UsageError(
            f"{architecture} has no pretrained weights '{tag}'; it has {some(known) if known else 'none'}"
        )
    configs = [
        timm.get_pretrained_cfg(f"{architecture}.{one}").to_dict() for one in ([tag] if tag else known)
    ]
    if not configs:
        plain = timm.get_pretrained_cfg(architecture)
        return plain.to_dict() if plain is not None else {}
    if any(_deciding(one) != _deciding(configs[0]) for one in configs):
        raise UsageError(
            f"the pretrained weights of {architecture} differ in their preprocessing; say which yours are: "
            f"timm:{architecture}.TAG with one of {some(known)}"
        )
    return configs[0]


def _deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    resolved = resolve_data_config(pretrained_cfg=dict(config))
    return {key: resolved[key] for key in _DECIDING}


def _create(architecture: str, arguments: Mapping[str, Any], profile: Profile) -> nn.Module:
    chosen = {**arguments, "num_classes": 0}
    if profile.pooling:
        chosen["global_pool"] = profile.pooling
    try:
        try:
            sized = {**chosen, "img_size": profile.size} if profile.size else chosen
            return timm.create_model(architecture, pretrained=False, **sized)
        except TypeError:
            if not profile.size:
                raise
            return timm.create_model(architecture, pretrained=False, **chosen)  # takes any size as it is
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
        raise UsageError(f"timm cannot make {architecture} in this profile: {_first_line(error)}") from error


def _fill(network: nn.Module, tensors: dict[str, Tensor], located: Located, data: Mapping[str, Any]) -> None:
    """Load strictly: as the file is, else through the filter by which timm reads its authors' layout."""
    own = network.state_dict()
    dropped = (*_heads(network, data), *_UNUSED)
    given = _without(tensors, dropped)
    if _misfit(own, given):
        convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        if convert is not None:
            try:
                given = _without(convert(dict(tensors), network), dropped)
            except (KeyError, IndexError, RuntimeError, ValueError, AttributeError, TypeError):
                given = _without(tensors, dropped)
    wrong = _misfit(own, given)
    if wrong:
        raise Refused(f"{located.file} does not fit {type(network).__name__} of this name: {wrong}")
    network.load_state_dict({key: value.float() for key, value in given.items()}, strict=True)


def _heads(network: nn.Module, data: Mapping[str, Any]) -> Iterable[str]:
    named = data.get("classifier") or getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _without(tensors: Mapping[str, Tensor], dropped: Iterable[str]) -> dict[str, Tensor]:
    return {
        key: value
        for key, value in tensors.items()
        if not any(key == name or key.startswith(f"{name}.") for name in dropped)
    }


def _misfit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    missing, strange = [key for key in own if key not in given], [key for key in given if key not in own]
    if missing or strange:
        parts = [f"lacks {some(missing)}" if missing else "", f"has {some(strange)}" if strange else ""]
        return f"it {' and '.join(part for part in parts if part)}"
    for key, tensor in own.items():
        if tensor.shape != given[key].shape:
            return f"expected {key} of {tuple(tensor.shape)}, found {tuple(given[key].shape)}"
    return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
