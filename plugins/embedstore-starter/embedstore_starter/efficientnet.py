"""EfficientNet-Lite0 for inference in plain torch, with its batch norms folded into the convolutions.

Architecture: Tan & Le 2019 (arXiv:1905.11946) in the "lite" form of the TensorFlow TPU repository (no squeeze
and excitation, ReLU6, fixed stem and head). Written out here because importing a model zoo takes longer than
everything else this encoder does; tests hold it equal to timm's `tf_efficientnet_lite0`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedstore.errors import Refused

FEATURES = 1280
CLASSES = 1000
_BN_EPSILON = 1e-3
# repeats, kernel, stride of the first, expansion, output channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True, slots=True)
class _Conv:
    """Shape of one convolution with its batch norm; `active`: followed by ReLU6; `residual`: ends a skip."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    groups: int = 1
    active: bool = True

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.outputs, self.inputs // self.groups, self.kernel, self.kernel)


def _block(inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> list[_Conv]:
    wide = inputs * expansion
    convs = [_Conv(inputs, wide, 1)] if expansion > 1 else []
    convs.append(_Conv(wide, wide, kernel, stride, groups=wide))
    convs.append(_Conv(wide, outputs, 1, active=False))
    return convs


def _blocks() -> Iterator[list[_Conv]]:
    channels = 32
    for repeats, kernel, stride, expansion, outputs in _STAGES:
        for repeat in range(repeats):
            yield _block(channels, outputs, kernel, stride if repeat == 0 else 1, expansion)
            channels = outputs


_STEM, _HEAD = _Conv(3, 32, 3, 2), _Conv(320, FEATURES, 1)


class FoldedConv(nn.Module):
    """Convolution with bias, TensorFlow's "same" padding, and ReLU6 where the architecture has one."""

    def __init__(self, shape: _Conv, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, ceil(h / stride), ceil(w / stride))."""
        shape = self.shape
        vertical = _same_padding(x.shape[2], shape.kernel, shape.stride)
        horizontal = _same_padding(x.shape[3], shape.kernel, shape.stride)
        padding = (vertical // 2, horizontal // 2)
        if vertical % 2 or horizontal % 2:  # "same" puts the odd pixel at the bottom and the right
            x = functional.pad(x, (padding[1], horizontal - padding[1], padding[0], vertical - padding[0]))
            padding = (0, 0)
        x = functional.conv2d(x, self.weight, self.bias, shape.stride, padding, groups=shape.groups)
        return functional.relu6(x, inplace=True) if shape.active else x


def _same_padding(size: int, kernel: int, stride: int) -> int:
    return max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)


class EfficientNetLite0(nn.Module):
    """(n, 3, h, w) to (n, 1280) globally pooled features; `logits` are those of ImageNet's 1000 classes."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        """From the 296 tensors of a checkpoint in their order (names differ between publishers).

        Raises Refused when their number or a shape is not that of EfficientNet-Lite0.
        """
        super().__init__()
        source = _Tensors(tensors)
        self.stem = source.conv(_STEM)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(source.conv(shape) for shape in block)) for block in _blocks()
        )
        self.head = source.conv(_HEAD)
        self.class_weight = nn.Parameter(source.take((CLASSES, FEATURES)), requires_grad=False)
        self.class_bias = nn.Parameter(source.take((CLASSES,)), requires_grad=False)
        source.finish()

    def forward(self, x: Tensor) -> Tensor:
        """Features after global average pooling."""
        x = self.stem(x)
        for block in self.blocks:
            y = block(x)
            x = x + y if y.shape == x.shape else y
        features: Tensor = self.head(x).mean((2, 3))
        return features

    def logits(self, features: Tensor) -> Tensor:
        """(n, 1280) features to (n, 1000) ImageNet logits."""
        return functional.linear(features, self.class_weight, self.class_bias)


class _Tensors:
    """Hands out a checkpoint's tensors in order and folds each batch norm into its convolution."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors
        self._next = 0

    def take(self, shape: tuple[int, ...]) -> Tensor:
        tensor = self._tensors[self._next] if self._next < len(self._tensors) else None
        if tensor is None or tuple(tensor.shape) != shape:
            found = "nothing" if tensor is None else "x".join(map(str, tensor.shape))
            raise Refused(
                f"these weights are not EfficientNet-Lite0: tensor {self._next} should be "
                f"{'x'.join(map(str, shape))} and is {found}"
            )
        self._next += 1
        return tensor

    def conv(self, shape: _Conv) -> FoldedConv:
        weight = self.take(shape.weight_shape).double()
        gamma, beta, mean, variance = (self.take((shape.outputs,)).double() for _ in range(4))
        self.take(())  # number of batches the norm was trained on
        scale = gamma / torch.sqrt(variance + _BN_EPSILON)
        folded = (weight * scale[:, None, None, None]).float()
        return FoldedConv(shape, folded, (beta - mean * scale).float())

    def finish(self) -> None:
        if self._next != len(self._tensors):
            raise Refused(
                f"these weights are not EfficientNet-Lite0: {len(self._tensors)} tensors, not {self._next}"
            )
