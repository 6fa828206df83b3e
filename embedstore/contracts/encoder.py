"""Encoders, their towers, and the spaces that vectors belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from embedstore.contracts.image import DISPLAY_POLICY, F32, ImageInput, Intensity
from embedstore.fingerprint import digest

TowerKind = Literal["image", "text"]

INT8_POLICY = 3
"""Version of how int8 vectors are made, part of their spaces; the first had weights with a sign, the
second scaled the last layers by tokens that no vector is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerSpec:
    """One half of an encoder.

    dim: length of a vector, None in a template whose weights decide; published_dim: in the published weights
    then. wants: intensity it reads.
    preprocess: the recipe as data (a policy, never one image's window); see `encoders.preprocess`.
    space: fingerprint of the vector space, None until the spec is bound to weights.
    metric: how vectors are compared; "cosine" and "dot" are larger-is-better.
    regions: whether a region of interest makes a difference; recipes that crop to it need not say so.
    """

    kind: TowerKind
    dim: int | None
    preprocess: Mapping[str, Any]
    pooling: str
    wants: Intensity = "display"
    metric: Literal["cosine", "dot"] = "cosine"
    space: str | None = None
    regions: bool = False
    published_dim: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a person agrees to before an encoder's vectors go into a store.

    licence: its name. where: its text can be read there. forbids: in words, such as "commercial use". gated:
    the publisher asks for agreement before the download, too.
    """

    licence: str
    where: str
    forbids: str = ""
    gated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """What an encoder is, known without importing torch.

    shared_space: True when image and text tower answer in one space (CLIP and kin). prompt: the text it was
    trained to meet a label in, for prompt sets that name no template.
    terms: None when its licence asks nothing of who uses it. modalities: DICOM codes of what it was trained
    for, () for anything.
    weights_sha256, tower dims and spaces are None in a template; `bind` fills them after loading.
    """

    name: str
    version: str
    towers: tuple[TowerSpec, ...]
    licence: str
    source: str
    cite: str = ""
    modalities: tuple[str, ...] = ()
    shared_space: bool = False
    precision: str = "fp32"
    profile: str = "default"
    weights_sha256: str | None = None
    notes: str = ""
    prompt: str = "{}"
    terms: Terms | None = None

    def tower(self, kind: TowerKind) -> TowerSpec | None:
        """The tower of that kind, or None when the encoder has none."""
        return next((tower for tower in self.towers if tower.kind == kind), None)


def bind(
    spec: EncoderSpec,
    weights_sha256: str,
    dims: Mapping[TowerKind, int],
    precision: str = "fp32",
    tower_weights: Mapping[TowerKind, str] | None = None,
) -> EncoderSpec:
    """Bind a template to loaded weights: fills the hash, the dimensions and each tower's space.

    A space is the digest of encoder name, version, weights hash, recipe, the version of the readers'
    display rules where the tower reads display pixels, pooling, precision (of int8 how it is made, too),
    dimension and dtype; the towers of a dual encoder hash both recipes and share one space.
    tower_weights: hash of each tower's own weights, for an encoder whose towers are two models in two
    spaces: a new text model then leaves the image space as it was. A shared space ignores it.
    """
    own = {} if spec.shared_space or tower_weights is None else tower_weights
    towers = tuple(replace(t, dim=dims[t.kind]) for t in spec.towers)
    described = {t.kind: _tower_identity(t) for t in towers}

    def space_of(tower: TowerSpec) -> str:
        identity = {
            "encoder": spec.name,
            "version": spec.version,
            "weights_sha256": own.get(tower.kind, weights_sha256),
            "precision": precision,
            **({"int8": INT8_POLICY} if precision == "int8" else {}),
            "dtype": "float32",
            "towers": described if spec.shared_space else {tower.kind: described[tower.kind]},
        }
        return digest(identity)

    bound = tuple(replace(t, space=space_of(t)) for t in towers)
    return replace(spec, towers=bound, weights_sha256=weights_sha256, precision=precision)


def _tower_identity(tower: TowerSpec) -> dict[str, Any]:
    shown = tower.kind == "image" and tower.wants in ("display", "draft")
    return {
        **({"display": DISPLAY_POLICY} if shown else {}),
        "preprocess": dict(tower.preprocess),
        "pooling": tower.pooling,
        "wants": tower.wants,
        "dim": tower.dim,
        "metric": tower.metric,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """How to load an encoder. profile and precision are part of the space, the rest is provenance.

    weights: explicit file or folder, None to look where `doctor` looks. threads: 0 leaves torch's default.
    runtime: "torch" or "onnx", which gives the same vectors. trust: sha256 of a file that is a program and
    may be run. cache: folder for what is derived from weights, None for the user's own. shared: other
    processes load the same weights; where it can, an encoder keeps them in their file's pages.
    """

    weights: Path | None = None
    weights_folder: Path | None = None
    profile: str = "default"
    precision: str = "fp32"
    device: str = "cpu"
    threads: int = 0
    runtime: str = "torch"
    trust: str | None = None
    cache: Path | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReport:
    """What `encoders doctor` says: whether weights are here, where, and if not what to fetch.

    state: "present", "missing" or "unusable". path: where they were found. remedy: one line for a person.
    files: names under which the weights are published, the current one first.
    """

    state: Literal["present", "missing", "unusable"]
    path: str | None = None
    remedy: str = ""
    searched: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@runtime_checkable
class Encoder(Protocol):
    """A loaded encoder. Rows answer inputs in order; a row does not depend on its batch (within 1e-5).

    spec is bound. An encoder without a tower raises UsageError from that tower's method.
    """

    spec: EncoderSpec

    def encode_images(self, images: Sequence[ImageInput]) -> F32:
        """(n, dim) C-contiguous float32, not normalised."""

    def encode_texts(self, texts: Sequence[str]) -> F32:
        """(n, dim) C-contiguous float32, not normalised."""


@runtime_checkable
class StagedEncoder(Encoder, Protocol):
    """An encoder whose image side splits into decoding-side work and the forward pass, so they overlap.

    `encode_images(x)` equals `forward_images(stack(prepare_image(i) for i in x))`.
    `prepare_image` is called from a second thread.
    """

    batch_size: int

    def prepare_image(self, image: ImageInput) -> F32:
        """Preprocess one image to the network's input, e.g. (3, 224, 224) float32."""

    def forward_images(self, batch: F32) -> F32:
        """(n, ...) prepared inputs to (n, dim) vectors."""


@runtime_checkable
class PortableEncoder(StagedEncoder, Protocol):
    """An encoder whose preprocessing can be sent to another process.

    `preparation(image)` equals `prepare_image(image)`; it can be pickled, is small, and needs no torch: a
    recipe's `apply`, or an object with `__call__`.
    """

    preparation: Callable[[ImageInput], F32]


@runtime_checkable
class ApproximateEncoder(StagedEncoder, Protocol):
    """An encoder that, in precision "int8", can say beside each vector what fp32 would have given."""

    def exact_images(self, batch: F32) -> F32:
        """(n, ...) prepared inputs to the (n, dim) vectors of the same network in fp32."""


@runtime_checkable
class TunableEncoder(Protocol):
    """An encoder that can choose threads, memory layout and batch by a short measurement."""

    def tune(self, seconds: float) -> Mapping[str, Scalarish]:
        """Measure for about `seconds`, adopt the fastest setting, return what was chosen and its rate."""


Scalarish = str | int | float | bool


@runtime_checkable
class ScaledEncoder(Encoder, Protocol):
    """A dual encoder that knows how its cosines become logits: `logit_scale * cosine + logit_bias`.

    logit_scale: multiplier (CLIP's temperature, already exponentiated), None when the model has none.
    logit_bias: SigLIP's additive bias, None for softmax models. With a bias, each text is judged by itself
    through a sigmoid (Zhai et al. 2023, arXiv:2303.15343); without, texts compete in a softmax.
    """

    logit_scale: float | None
    logit_bias: float | None


class EncoderFactory(Protocol):
    """The entry point of an encoder plugin. Importing it must not import torch.

    `name` is what the user typed: the plugin's name or `plugin:argument`.
    """

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        """The template. Raises UnknownPlugin or UsageError for an argument or profile it does not know."""

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        """Look for the weights without loading them and without the network."""

    def load(self, name: str, request: LoadRequest) -> Encoder:
        """Load and bind. Raises WeightsMissing, Refused (wrong file) or UsageError."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A named way to prepare images. summary: whose way it is. recipe: as data, see `encoders.preprocess`."""

    name: str
    summary: str
    recipe: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class ChoosableFactory(Protocol):
    """A factory whose encoder can be asked for in several ways, as `PROFILE[+POOLING]`."""

    def profiles(self, name: str) -> tuple[Profile, ...]:
        """Ways to prepare images, the default first."""

    def poolings(self, name: str) -> Mapping[str, str]:
        """Ways to make one vector of the output: name to words, the default first; {} when there is one."""
