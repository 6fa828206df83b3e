"""A user's own `nn.Module` as an encoder: what a plugin of ten lines needs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from embedstore.contracts.encoder import Encoder, EncoderSpec, LoadRequest, TowerSpec, WeightsReport, bind
from embedstore.encoders.preprocess import Recipe
from embedstore.encoders.weights import Official, not_downloaded, some
from embedstore.errors import Refused, UsageError
from embedstore.fingerprint import file_sha256
from embedstore_torch.loading import check_request, input_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFactory:
    """An `EncoderFactory` around a function that builds a network.

    build: "package.module:function", imported when the encoder is loaded; it returns a `torch.nn.Module`
    that maps (n, 3, h, w) float32 to (n, dim). file: its weights by their usual name, safetensors or a
    checkpoint of tensors, all of which have to fit. obtain: how to get them, for who has none.
    version: to be raised with every change of the network's code.
    """

    name: str
    build: str
    recipe: Recipe
    file: str
    pooling: str
    licence: str
    source: str
    obtain: str = "ask its authors for it"
    version: str = "1"
    modalities: tuple[str, ...] = ()

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template. Raises UsageError for an argument or another profile."""
        if name != self.name or profile != "default":
            raise UsageError(f"encoder '{self.name}' takes no argument and has the profile 'default' only")
        tower = TowerSpec(
            kind="image",
            dim=None,
            preprocess=self.recipe.to_json(),
            pooling=self.pooling,
            wants=self.recipe.wants,
        )
        return EncoderSpec(
            name=self.name,
            version=self.version,
            towers=(tower,),
            licence=self.licence,
            source=self.source,
            modalities=self.modalities,
        )

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Whether the file is here; it is not loaded."""
        self.spec(name, request.profile)
        path = next((path for path in self._official().places(request) if path.is_file()), None)
        if path is None:
            return self._official().report(request)
        wrong = not_downloaded(path)
        return WeightsReport(state="unusable" if wrong else "present", path=str(path), remedy=wrong)

    def load(self, name: str, request: LoadRequest) -> Encoder:
        """Load strictly and bind. Raises WeightsMissing, Refused, UsageError."""
        template = self.spec(name, request.profile)
        check_request(name, request)
        path = self._official().require(request)
        import torch

        from embedstore_torch.encoder import ImageEncoder
        from embedstore_torch.forward import forward_of
        from embedstore_torch.sharing import Kept
        from embedstore_torch.tensors import read_tensors

        module, _, function = self.build.partition(":")
        network: torch.nn.Module = getattr(import_module(module), function)()
        tensors, own = read_tensors(path), network.state_dict()
        changed = {key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape}
        if odd := sorted((own.keys() ^ tensors.keys()) | changed):
            raise Refused(f"{path} does not fit the network of '{name}': {some(odd)} differ")
        network.load_state_dict(tensors, strict=True)
        shape = input_shape(self.recipe)
        with torch.inference_mode():
            dim = network.eval()(torch.zeros(1, *shape)).shape[1]
        spec = bind(template, file_sha256(path), {"image": dim}, request.precision)
        forward = forward_of(network, spec, request, shape, Kept([path]))
        return ImageEncoder(spec, forward, self.recipe, request.threads)

    def _official(self) -> Official:
        return Official(files=(self.file,), obtain=self.obtain)
