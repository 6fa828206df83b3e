"""Encoders by name: what is installed, whether its weights are here, and loaded ones kept for reuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from embedstore import discovery
from embedstore.contracts.encoder import (
    ChoosableFactory,
    Encoder,
    EncoderFactory,
    EncoderSpec,
    LoadRequest,
    Profile,
    TowerKind,
    TowerSpec,
    WeightsReport,
)
from embedstore.encoders.preprocess import Recipe
from embedstore.engine.requests import EncoderChoice
from embedstore.errors import EmbedstoreError, SpaceMismatch, UsageError
from embedstore.settings import Settings


def list_encoders() -> tuple[EncoderSpec, ...]:
    """Template specs of the installed encoders; neither torch nor weights are touched."""
    return tuple(_factory(name).spec(name) for name in discovery.list_plugins(discovery.ENCODERS))


def show_encoder(name: str, profile: str = "default") -> EncoderSpec:
    """The template spec of one encoder. Raises UnknownPlugin."""
    return _factory(name).spec(name, profile)


def choices(name: str) -> tuple[tuple[Profile, ...], Mapping[str, str]]:
    """The profiles and poolings an encoder can be asked for, the defaults first; () when there is one way."""
    factory = _factory(name)
    if not isinstance(factory, ChoosableFactory):
        return (), {}
    return factory.profiles(name), factory.poolings(name)


def input_size(spec: EncoderSpec) -> tuple[int, int] | None:
    """(height, width) of the image network's input; None when the weights or the image decide."""
    tower = spec.tower("image")
    if tower is None or not tower.preprocess:
        return None
    return Recipe.from_json(tower.preprocess).size


def doctor(names: tuple[str, ...] = ()) -> tuple[tuple[str, WeightsReport], ...]:
    """Whether each encoder's weights are on this machine, and if not what to fetch and where to put it."""
    wanted = names or tuple(discovery.list_plugins(discovery.ENCODERS))
    request = LoadRequest(weights_folder=Settings.from_environment().weights)
    return tuple((name, _examine(name, request)) for name in wanted)


def _examine(name: str, request: LoadRequest) -> WeightsReport:
    try:
        return _factory(name).doctor(name, request)
    except UsageError:
        raise
    except EmbedstoreError as error:
        return WeightsReport(state="unusable", remedy=str(error))


def _factory(name: str) -> EncoderFactory:
    factory: EncoderFactory = discovery.find_plugin(discovery.ENCODERS, name).load()
    return factory


def load_encoder(choice: EncoderChoice, shared: bool = False) -> Encoder:
    """Load an encoder, in others as well when `shared`. Raises UnknownPlugin, WeightsMissing, Refused."""
    settings = Settings.from_environment()
    request = LoadRequest(
        weights=choice.weights,
        weights_folder=settings.weights,
        profile=choice.profile,
        precision=choice.precision,
        device=choice.device,
        threads=choice.threads,
        runtime=choice.runtime,
        trust=choice.trust,
        cache=settings.cache,
        shared=shared,
    )
    return _factory(choice.name).load(choice.name, request)


def tower_of(encoder: Encoder, kind: TowerKind) -> TowerSpec:
    """The bound tower of that kind. Raises UsageError when the encoder has none."""
    tower = encoder.spec.tower(kind)
    if tower is None:
        other = "texts" if kind == "image" else "images"
        raise UsageError(f"encoder '{encoder.spec.name}' reads {other} only; choose another with --encoder")
    return tower


def check_takes_regions(encoder: str, tower: TowerSpec) -> None:
    """Raises UsageError when a region of interest makes no difference to the tower's vectors."""
    if not tower.regions and all(
        step.get("step") != "crop_roi" for step in tower.preprocess.get("steps", ())
    ):
        raise UsageError(
            f"encoder '{encoder}' has vectors of whole images only; leave the region out, or "
            "choose an encoder whose preprocessing crops to regions, such as medsam"
        )


def space_of(tower: TowerSpec) -> str:
    """The fingerprint of a bound tower's space."""
    if tower.space is None:
        raise SpaceMismatch("an encoder answered without a bound space; its plugin is broken")
    return tower.space


def spec_json(spec: EncoderSpec) -> dict[str, Any]:
    """A spec as plain JSON values, for SQL."""
    return asdict(spec)


class EncoderPool:
    """Encoders loaded in this process, one per choice, kept until the store is closed."""

    def __init__(self) -> None:
        self._loaded: dict[EncoderChoice, Encoder] = {}

    def get(self, choice: EncoderChoice) -> Encoder:
        """The loaded encoder; loads it the first time it is asked for."""
        encoder = self._loaded.get(choice)
        if encoder is None:
            encoder = self._loaded[choice] = load_encoder(choice)
        return encoder

    def for_space(self, choice: EncoderChoice, kind: TowerKind, space: str) -> Encoder:
        """The encoder, made sure to answer in `space`.

        Raises SpaceMismatch when its weights, version or recipe are no longer those of the stored vectors.
        """
        encoder = self.get(choice)
        if space_of(tower_of(encoder, kind)) != space:
            raise SpaceMismatch(
                f"encoder '{choice.name}' as installed now answers in another space than the stored vectors "
                f"({space[:12]}): its weights, version or preprocessing changed; ingest again with it, or "
                "install the version that the store was made with"
            )
        return encoder
