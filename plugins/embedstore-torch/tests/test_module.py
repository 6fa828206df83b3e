"""A network of one's own as an encoder: here timm's smallest, reading Hounsfield units."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from embedstore_torch import ModuleFactory
from safetensors.torch import save_file
from timm.models.vision_transformer import test_vit as network

from embedstore.contracts.encoder import LoadRequest
from embedstore.encoders.preprocess import Recipe, Resize, ToRGB
from embedstore.encoders.windows import ct_window
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.testing.encoders import EncoderContract, sample_images


def _factory():
    return ModuleFactory(
        name="lung",
        build="timm.models.vision_transformer:test_vit",
        recipe=Recipe((ct_window("lung"), Resize(size=(160, 160)), ToRGB()), wants="hu"),
        file="lung.safetensors",
        pooling="the head's",
        licence="none",
        source="a seed",
        modalities=("CT",),
    )


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("lung") / "lung.safetensors"
    save_file(network().state_dict(), path)
    return path


class TestModuleOfHounsfieldUnits(EncoderContract):
    factory: ClassVar[ModuleFactory] = _factory()
    name = "lung"

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def file(weights):
        TestModuleOfHounsfieldUnits.request = LoadRequest(weights_folder=weights.parent, threads=1)


def test_vectors_are_those_of_the_network(weights):
    encoder = _factory().load("lung", LoadRequest(weights=weights, threads=1))
    torch.manual_seed(0)
    own, inputs = network().eval(), [encoder.prepare_image(image) for image in sample_images("hu")]
    with torch.inference_mode():
        expected = own(torch.stack([torch.from_numpy(one) for one in inputs]))
    found = torch.from_numpy(encoder.encode_images(sample_images("hu")))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_does_not_fit_is_refused(weights, tmp_path):
    tensors = network().state_dict()
    tensors["norm.bias"] = tensors["norm.bias"][:-1]
    save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(Refused, match=r"norm\.bias differ"):
        _factory().load("lung", LoadRequest(weights=tmp_path / "cut.safetensors"))
    with pytest.raises(WeightsMissing, match=r"lung\.safetensors"):
        _factory().load("lung", LoadRequest(weights_folder=tmp_path))
    with pytest.raises(UsageError, match="takes no argument"):
        _factory().spec("lung:left")
