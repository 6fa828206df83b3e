"""The contract suite for encoders.

Subclass in a test module, name the factory and what a user would type, and pytest collects the checks:

    class TestMyEncoder(EncoderContract):
        factory = my_package.factory
        name = "mine"
        entry = "my_package:factory"
        request = LoadRequest(weights=..., threads=1)

Each check is a plain method that asserts, so it can be called without pytest as well. The weights
must be on this machine; random ones of the right shape serve.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np

from embedstore.contracts.encoder import (
    ChoosableFactory,
    Encoder,
    EncoderFactory,
    EncoderSpec,
    LoadRequest,
    PortableEncoder,
    ScaledEncoder,
    StagedEncoder,
    TowerSpec,
    TunableEncoder,
)
from embedstore.contracts.image import F32, ImageInput, Intensity
from embedstore.encoders.preprocess import Recipe
from embedstore.errors import UsageError
from embedstore.testing.samples import SAMPLE_TEXTS, sample_images

__all__ = ["SAMPLE_TEXTS", "EncoderContract", "sample_images"]

HEAVY = ("torch", "torchvision", "timm", "transformers", "open_clip", "safetensors", "tensorflow", "jax")
_SMALL = 100_000  # bytes
_BLOCKED = """
import sys
from importlib import import_module
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
module, _, attribute = {entry!r}.partition(":")
factory = getattr(import_module(module), attribute)
from embedstore.contracts.encoder import LoadRequest
factory.spec({name!r})
factory.doctor({name!r}, LoadRequest())
"""


class EncoderContract:
    """What every encoder promises.

    factory, name: the factory under test and the name it is loaded by. entry: its entry point
    ("module:attribute"), to prove that importing it is light; empty leaves that check out.
    request: how it is loaded. tolerance: largest difference a batch may make to a row, relative to the
    row's largest entry (or absolute below 1).
    """

    factory: ClassVar[EncoderFactory]
    name: ClassVar[str]
    entry: ClassVar[str] = ""
    request: ClassVar[LoadRequest] = LoadRequest(threads=1)
    tolerance: ClassVar[float] = 1e-5

    @classmethod
    def checks(cls) -> dict[str, Callable[[EncoderContract], None]]:
        """The checks by name."""
        return {name: getattr(cls, name) for name in dir(cls) if name.startswith("test_")}

    def encoder(self) -> Encoder:
        """The encoder under test, loaded once for the class."""
        return self._load()

    @classmethod
    @cache
    def _load(cls) -> Encoder:
        return cls.factory.load(cls.name, cls.request)

    def images(self, wants: Intensity) -> list[ImageInput]:
        """Inputs for the image tower; override for an encoder that needs others."""
        return sample_images(wants)

    def _towers(self) -> list[tuple[TowerSpec, Sequence[Any], Callable[[Sequence[Any]], F32]]]:
        encoder = self.encoder()
        image, text = encoder.spec.tower("image"), encoder.spec.tower("text")
        towers: list[tuple[TowerSpec, Sequence[Any], Callable[[Sequence[Any]], F32]]] = []
        if image is not None:
            towers.append((image, self.images(image.wants), encoder.encode_images))
        if text is not None:
            towers.append((text, SAMPLE_TEXTS, encoder.encode_texts))
        return towers

    def _close(self, a: F32, b: F32) -> bool:
        scale = np.maximum(1.0, np.abs(b).max(axis=-1, keepdims=True))
        return bool((np.abs(a - b) <= self.tolerance * scale).all())

    def test_spec_is_a_template(self) -> None:
        """Before loading: name, licence, source and towers are known, dimensions and hash may be."""
        spec = self.factory.spec(self.name)
        assert isinstance(spec, EncoderSpec)
        assert spec.name, "it has a name"
        assert spec.version, "it has a version"
        assert spec.licence, "it names its licence"
        assert spec.source, "it says where the weights come from"
        kinds = [tower.kind for tower in spec.towers]
        assert kinds, "it has a tower"
        assert len(set(kinds)) == len(kinds), "at most one tower of each kind"

    def test_import_is_light(self) -> None:
        """`spec` and `doctor` answer where torch and its kin cannot be imported."""
        if self.entry:
            code = _BLOCKED.format(heavy=set(HEAVY), entry=self.entry, name=self.name)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # noqa: S603
            assert not done.returncode, f"importing the entry module is not light: {done.stderr[-300:]}"

    def test_doctor_finds_the_weights(self) -> None:
        """What can be loaded is reported as present."""
        assert self.factory.doctor(self.name, self.request).state == "present"

    def test_unknown_profile_is_refused(self) -> None:
        """A profile it does not know is a UsageError, before and at loading."""
        for ask in (
            lambda: self.factory.spec(self.name, "no such profile"),
            lambda: self.factory.load(self.name, replace(self.request, profile="no such profile")),
        ):
            _refused(ask, "an unknown profile must be refused")

    def test_unknown_ways_to_compute_are_refused(self) -> None:
        """A precision or runtime it has not is a UsageError, never fp32 or its own library without a word."""
        for request in (
            replace(self.request, precision="none such"),
            replace(self.request, runtime="none such"),
        ):
            _refused(partial(self.factory.load, self.name, request), f"{request} must be refused")

    def test_spec_is_bound(self) -> None:
        """After loading: weights hash, dimension and space of each tower; loading again gives the same."""
        spec = self.encoder().spec
        assert _is_digest(spec.weights_sha256), "weights_sha256 is a sha256"
        for tower in spec.towers:
            assert _is_digest(tower.space), "each tower is bound to a space"
            assert tower.dim, "each tower has a dimension"
        spaces = {tower.space for tower in spec.towers}
        assert len(spaces) == (1 if spec.shared_space else len(spec.towers)), "towers share one space or none"
        again = self.factory.load(self.name, self.request).spec
        assert again == spec, "the same weights and recipe give the same spaces"
        template = self.factory.spec(self.name, self.request.profile)
        for tower in spec.towers:
            declared = template.tower(tower.kind)
            assert declared is not None, "loading adds no tower"
            assert declared.dim in (None, tower.dim), "the template's dimension holds"

    def test_image_recipe_is_data(self) -> None:
        """The image tower's recipe can be read back, and names the intensity the tower wants."""
        tower = self.encoder().spec.tower("image")
        if tower is not None:
            assert Recipe.from_json(tower.preprocess).wants == tower.wants

    def test_the_recipe_is_what_is_done(self) -> None:
        """The recipe in the fingerprint, applied to the images, gives what `prepare_image` gives.

        So preprocessing cannot change without the space changing. A plugin may add channels of its own behind
        the recipe's (a region of interest).
        """
        encoder = self.encoder()
        tower = encoder.spec.tower("image")
        if tower is None or not isinstance(encoder, StagedEncoder):
            return
        recipe = Recipe.from_json(tower.preprocess)
        for image in self.images(tower.wants):
            declared = recipe.apply(image)
            done = encoder.prepare_image(image)
            assert done.shape[1:] == declared.shape[1:], "prepare_image gives another size than the recipe"
            assert np.array_equal(done[: len(declared)], declared), (
                "prepare_image does something else than the recipe that the space is named after"
            )

    def test_choices_are_spaces_of_their_own(self) -> None:
        """Every profile and pooling that is offered can be asked for, and no two describe one space."""
        if not isinstance(self.factory, ChoosableFactory):
            return
        poolings = [f"+{pooling}" for pooling in self.factory.poolings(self.name)] or [""]
        asked = [
            f"{profile.name}{pooling}" for profile in self.factory.profiles(self.name) for pooling in poolings
        ]
        assert asked, "at least one way is offered"
        spaces = [self._described(one) for one in asked]
        assert len(set(spaces)) == len(spaces), "two profiles or poolings describe the same vectors"
        assert self._described("default") == spaces[0], "the default is named first"

    def _described(self, profile: str) -> str:
        tower = self.factory.spec(self.name, profile).tower("image")
        assert tower is not None, "profiles are of the image tower"
        return json.dumps([tower.preprocess, tower.pooling, tower.wants], sort_keys=True)

    def test_vectors_are_sound(self) -> None:
        """(n, dim) C-contiguous float32 of the declared dimension, finite, none of them zero."""
        for tower, inputs, encode in self._towers():
            rows = encode(inputs)
            assert rows.shape == (len(inputs), tower.dim), f"{tower.kind} vectors are {rows.shape}"
            assert rows.dtype == np.float32, f"{tower.kind} vectors are {rows.dtype}"
            assert rows.flags.c_contiguous, f"{tower.kind} vectors are not C-contiguous"
            assert np.isfinite(rows).all(), f"{tower.kind} vectors are not finite"
            assert np.abs(rows).max(axis=1).min() > 0, f"a {tower.kind} vector is zero"

    def test_no_input_gives_no_rows(self) -> None:
        """Nothing in, (0, dim) float32 out."""
        for tower, _, encode in self._towers():
            rows = encode([])
            assert rows.shape == (0, tower.dim), "no inputs give (0, dim)"
            assert rows.dtype == np.float32, "no inputs give float32"

    def test_rows_are_deterministic(self) -> None:
        """The same inputs give the same bits."""
        for _, inputs, encode in self._towers():
            assert np.array_equal(encode(inputs), encode(inputs)), "two calls gave two answers"

    def test_rows_follow_their_inputs(self) -> None:
        """Row i belongs to input i: reversing the inputs reverses the rows, and inputs differ."""
        for tower, inputs, encode in self._towers():
            rows = encode(inputs)
            assert self._close(encode(inputs[::-1])[::-1], rows), f"{tower.kind} rows changed places"
            gaps = np.abs(rows[:, None] - rows[None]).max(axis=2) + np.eye(len(rows))
            assert gaps.min() > self.tolerance, f"two different {tower.kind} inputs gave one vector"

    def test_rows_do_not_depend_on_their_batch(self) -> None:
        """Alone, in a short batch or in a long one, an input has the same vector."""
        for tower, inputs, encode in self._towers():
            rows = encode(inputs)
            alone = np.concatenate([encode([one]) for one in inputs])
            assert self._close(alone, rows), f"a {tower.kind} vector depends on its batch"
            many = encode([*inputs, *inputs, *inputs])
            assert self._close(many, np.concatenate([rows] * 3)), (
                f"a {tower.kind} vector depends on its batch"
            )

    def test_inputs_are_left_alone(self) -> None:
        """Pixels are the same after encoding, and read-only pixels will do."""
        tower = self.encoder().spec.tower("image")
        if tower is None:
            return
        images = self.images(tower.wants)
        before = [one.image.pixels.copy() for one in images]
        self.encoder().encode_images(images)
        for one, kept in zip(images, before, strict=True):
            assert np.array_equal(one.image.pixels, kept), "encoding changed its input"
            one.image.pixels.setflags(write=False)
        self.encoder().encode_images(images)

    def test_other_towers_are_refused(self) -> None:
        """An encoder without a tower raises UsageError from that tower's method."""
        encoder = self.encoder()
        if encoder.spec.tower("image") is None:
            _refused(lambda: encoder.encode_images(sample_images()), "it has no image tower")
        if encoder.spec.tower("text") is None:
            _refused(lambda: encoder.encode_texts(["text"]), "it has no text tower")

    def test_a_lone_text_is_refused(self) -> None:
        """A string where a sequence of strings is meant would be embedded letter by letter."""
        if self.encoder().spec.tower("text") is not None:
            _refused(lambda: self.encoder().encode_texts("text"), "a lone string must be refused")

    def test_other_intensities_are_refused(self) -> None:
        """Raw values are not taken for display values, nor display values for raw ones."""
        tower = self.encoder().spec.tower("image")
        if tower is not None:
            other: Intensity = "raw" if tower.wants == "display" else "display"
            message = f"{other} pixels must be refused"
            _refused(lambda: self.encoder().encode_images(sample_images(other)), message)

    def test_stages_add_up(self) -> None:
        """`prepare_image` on another thread, stacked, then `forward_images` is `encode_images`."""
        encoder = self.encoder()
        tower = encoder.spec.tower("image")
        if tower is None or not isinstance(encoder, StagedEncoder):
            return
        assert encoder.batch_size >= 1
        images = self.images(tower.wants)
        with ThreadPoolExecutor(1) as second:
            prepared = list(second.map(encoder.prepare_image, images))
        assert all(one.dtype == np.float32 for one in prepared), "prepared inputs are float32"
        staged = encoder.forward_images(np.stack(prepared))
        assert self._close(staged, encoder.encode_images(images)), "the stages do not add up"

    def test_preparation_travels(self) -> None:
        """What is sent to another process to preprocess there does so as `prepare_image` does here."""
        encoder = self.encoder()
        tower = encoder.spec.tower("image")
        if tower is None or not isinstance(encoder, PortableEncoder):
            return
        sent = pickle.dumps(encoder.preparation, protocol=5)
        assert len(sent) < _SMALL, "a preparation is sent without the weights"
        arrived = pickle.loads(sent)  # noqa: S301 - made in the line above
        for image in self.images(tower.wants):
            assert np.array_equal(arrived(image), encoder.prepare_image(image)), "the preparation differs"

    def test_sharing_weights_changes_memory_only(self) -> None:
        """Loaded beside other processes an encoder has the same space and the same vectors."""
        shared = self.factory.load(self.name, replace(self.request, shared=True))
        assert shared.spec == self.encoder().spec, "sharing weights changed the space"
        tower = shared.spec.tower("image")
        if tower is not None:
            images = self.images(tower.wants)
            same = self._close(shared.encode_images(images), self.encoder().encode_images(images))
            assert same, "sharing weights changed the vectors"

    def test_tuning_changes_speed_only(self) -> None:
        """`tune` reports what it chose, and the vectors stay within the tolerance."""
        encoder = self.factory.load(self.name, self.request)
        tower = encoder.spec.tower("image")
        if tower is None or not isinstance(encoder, TunableEncoder):
            return
        images = self.images(tower.wants)
        before = encoder.encode_images(images)
        chosen = encoder.tune(0.0)
        assert chosen, "tune says what it chose"
        assert self._close(encoder.encode_images(images), before), "tuning changed the vectors"
        assert encoder.spec == self.encoder().spec, "tuning changed the space"

    def test_logit_scale_is_usable(self) -> None:
        """A dual encoder's scale is a positive number, or None."""
        encoder = self.encoder()
        if isinstance(encoder, ScaledEncoder) and encoder.logit_scale is not None:
            assert encoder.spec.shared_space, "a logit scale needs a shared space"
            assert np.isfinite(encoder.logit_scale)
            assert encoder.logit_scale > 0


def _is_digest(value: str | None) -> bool:
    return value is not None and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _refused(ask: Callable[[], object], why: str) -> None:
    message = None
    try:
        ask()
    except UsageError as error:
        message = str(error)
    assert message is not None, why
    assert "\n" not in message, "a message is one line"
