"""The reference encoder keeps the encoder contract, and the contract catches encoders that do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from embedstore.contracts.encoder import EncoderSpec, LoadRequest, WeightsReport, bind
from embedstore.discovery import ENCODERS, find_plugin
from embedstore.encoders import reference
from embedstore.encoders.preprocess import stack
from embedstore.errors import UsageError
from embedstore.testing.encoders import EncoderContract


class TestReference(EncoderContract):
    factory = reference.factory
    name = "reference"
    entry = "embedstore.encoders.reference:factory"


class TestReferenceOfOneWindow(TestReference):
    request = LoadRequest(threads=1, profile="ct")


class TestReferenceOfThreeWindows(TestReference):
    request = LoadRequest(threads=1, profile="ct-windows")


class TestReferenceOfUptake(TestReference):
    request = LoadRequest(threads=1, profile="pet")


def test_profiles_are_spaces_of_their_own():
    encoders = [
        reference.factory.load("reference", LoadRequest(profile=profile))
        for profile in ("default", "ct", "ct-windows", "pet")
    ]
    assert len({encoder.spec.tower("image").space for encoder in encoders}) == 4
    with pytest.raises(UsageError, match="default, ct, ct-windows, ct-volume, mr-volume, pet"):
        reference.factory.spec("reference", "mr")


def test_another_way_to_make_int8_is_another_space(monkeypatch):
    template = reference.factory.spec("reference")

    def spaces(precision):
        bound = bind(template, "0" * 64, dict.fromkeys(("image", "text"), 64), precision)
        return [tower.space for tower in bound.towers]

    before = {precision: spaces(precision) for precision in ("fp32", "bf16", "int8")}
    monkeypatch.setattr("embedstore.contracts.encoder.INT8_POLICY", 0)
    assert spaces("int8") != before["int8"]
    assert (spaces("fp32"), spaces("bf16")) == (before["fp32"], before["bf16"])


def test_the_reference_is_found_by_entry_point():
    assert find_plugin(ENCODERS, "reference").load() is reference.factory


def test_the_reference_has_no_weights_to_name(tmp_path):
    with pytest.raises(UsageError, match="no weights file"):
        reference.factory.load("reference", LoadRequest(weights=tmp_path))


# Deliberately broken encoders: each is the reference encoder with one promise broken.


class Broken(reference.ReferenceEncoder):
    logit_scale: float | None = None
    logit_bias: float | None = None


class SwapsRows(Broken):
    def encode_images(self, images):
        rows = super().encode_images(images)
        rows[:2] = rows[:2][::-1].copy()
        return rows


class SortsTexts(Broken):
    def encode_texts(self, texts):
        return super().encode_texts(sorted(texts))


class WrongDimension(Broken):
    def encode_images(self, images):
        return np.ascontiguousarray(super().encode_images(images)[:, :60])


class CentresTheBatch(Broken):
    def encode_images(self, images):
        rows = super().encode_images(images)
        return rows - rows.mean(axis=0) if len(rows) else rows


class PadsToTheLongest(Broken):
    def encode_texts(self, texts):
        rows = super().encode_texts(texts)
        return rows * max(map(len, texts)) if len(rows) else rows


class GivesNaN(Broken):
    def encode_images(self, images):
        rows = super().encode_images(images)
        rows[-1:, 3] = np.nan
        return rows


class GivesZeros(Broken):
    def encode_texts(self, texts):
        rows = super().encode_texts(texts)
        rows[-1:] = 0
        return rows


class GivesDoubles(Broken):
    def encode_images(self, images):
        return super().encode_images(images).astype(np.float64)


class GivesFortranOrder(Broken):
    def encode_texts(self, texts):
        return np.asfortranarray(super().encode_texts(texts))


class WritesIntoItsInput(Broken):
    def prepare_image(self, image):
        image.image.pixels[0, 0] = 255 - image.image.pixels[0, 0]
        return super().prepare_image(image)


class Forgets(Broken):
    def encode_images(self, images):
        return np.ones((len(images), 64), dtype=np.float32)


class DropsOut(Broken):
    calls = 0

    def encode_images(self, images):
        self.calls += 1
        return super().encode_images(images) * np.float32(1 + 1e-7 * (self.calls % 5))


class FailsOnNothing(Broken):
    def encode_images(self, images):
        return stack([self.forward_images(self.prepare_image(i)[None])[0] for i in images])


class StagesDiffer(Broken):
    def forward_images(self, batch):
        return super().forward_images(batch) * np.float32(1.01)

    def encode_images(self, images):
        return super().encode_images(images) / np.float32(1.01) * np.float32(0.9)


class PreparationDiffers(Broken):
    def prepare_image(self, image):
        return super().prepare_image(image) / np.float32(2)


class _HalfAsBright:
    """Preprocessing that was changed, and nobody told the recipe."""

    def __init__(self, recipe):
        self.recipe = recipe

    def __call__(self, image):
        return self.recipe(image) / np.float32(2)


class ChangedPreprocessing(Broken):
    """Consistently, so that only the recipe in the fingerprint can tell."""

    def __init__(self, template):
        super().__init__(template)
        self.preparation = _HalfAsBright(self.preparation)


class OtherSize(Broken):
    def prepare_image(self, image):
        return super().prepare_image(image)[:, ::2, ::2]


class TakesLoneStrings(Broken):
    def encode_texts(self, texts):
        return super().encode_texts(list(texts))


class TakesRawForDisplay(Broken):
    def prepare_image(self, image):
        pixels = np.clip(image.image.pixels, 0, 255).astype(np.uint8)
        return super().prepare_image(
            replace(image, image=replace(image.image, pixels=pixels, intensity="display"))
        )


class UnboundSpace(Broken):
    def __init__(self, template):
        super().__init__(template)
        self.spec = template


class TwoSpacesForOne(Broken):
    def __init__(self, template):
        super().__init__(template)
        image, text = self.spec.towers
        self.spec = replace(self.spec, towers=(image, replace(text, space="0" * 64)))


class OtherRecipe(Broken):
    def __init__(self, template):
        super().__init__(template)
        image, text = self.spec.towers
        self.spec = replace(self.spec, towers=(replace(image, preprocess={"resize": 8}), text))


class TunesIntoOtherVectors(Broken):
    factor = np.float32(1)

    def tune(self, seconds):
        self.factor = np.float32(1.01)
        return {"factor": 1.01}

    def forward_images(self, batch):
        return super().forward_images(batch) * self.factor


class NegativeScale(Broken):
    logit_scale = -1.0


class ClaimsATower(Broken):
    """It has no image tower, yet answers."""

    def __init__(self, template):
        super().__init__(template)
        self.spec = replace(self.spec, towers=self.spec.towers[1:])


@dataclass(frozen=True)
class BrokenFactory:
    encoder: Any = Broken
    state: str = "present"
    any_profile: bool = False
    any_request: bool = False
    licence: str = "Apache-2.0"
    dim: int = 64

    def spec(self, name: str, profile: str = "default") -> EncoderSpec:
        spec = reference.factory.spec(name, "default" if self.any_profile else profile)
        image, text = spec.towers
        return replace(spec, licence=self.licence, towers=(replace(image, dim=self.dim), text))

    def doctor(self, name: str, request: LoadRequest) -> WeightsReport:
        return WeightsReport(state=self.state)  # type: ignore[arg-type]

    def load(self, name: str, request: LoadRequest) -> Any:
        self.spec(name, request.profile)
        if not self.any_request:
            reference.factory.load(name, request)
        return self.encoder(reference.factory.spec(name))


class OneProfileTwice(BrokenFactory):
    """Two names for one way."""

    def profiles(self, name):
        first, *_ = reference.factory.profiles(name)
        return (first, replace(first, name="again"))

    def poolings(self, name):
        return {}

    def spec(self, name, profile="default"):
        return reference.factory.spec(name, "default" if profile == "again" else profile)


class OffersWhatItHasNot(OneProfileTwice):
    def spec(self, name, profile="default"):
        return reference.factory.spec(name, profile)


class NewSpaceEachTime:
    """A factory whose encoders have another space at every load, as a hash over a timestamp would give."""

    count = 0

    def spec(self, name, profile="default"):
        return reference.factory.spec(name, profile)

    def doctor(self, name, request):
        return WeightsReport(state="present")

    def load(self, name, request):
        NewSpaceEachTime.count += 1
        reference.factory.load(name, request)
        template = replace(self.spec(name, request.profile), version=str(NewSpaceEachTime.count))
        return Broken(template)


class SharesOtherWeights:
    """A factory that maps another file than it reads."""

    spec, doctor = staticmethod(reference.factory.spec), staticmethod(reference.factory.doctor)

    def load(self, name, request):
        loaded = reference.factory.load(name, replace(request, shared=False))
        return SwapsRows(loaded.spec) if request.shared else loaded


CAUGHT: list[tuple[Any, str]] = [
    (BrokenFactory(SwapsRows), "test_rows_follow_their_inputs"),
    (BrokenFactory(SortsTexts), "test_rows_follow_their_inputs"),
    (BrokenFactory(Forgets), "test_rows_follow_their_inputs"),
    (BrokenFactory(WrongDimension), "test_vectors_are_sound"),
    (BrokenFactory(GivesNaN), "test_vectors_are_sound"),
    (BrokenFactory(GivesZeros), "test_vectors_are_sound"),
    (BrokenFactory(GivesDoubles), "test_vectors_are_sound"),
    (BrokenFactory(GivesFortranOrder), "test_vectors_are_sound"),
    (BrokenFactory(CentresTheBatch), "test_rows_do_not_depend_on_their_batch"),
    (BrokenFactory(PadsToTheLongest), "test_rows_do_not_depend_on_their_batch"),
    (BrokenFactory(WritesIntoItsInput), "test_inputs_are_left_alone"),
    (BrokenFactory(DropsOut), "test_rows_are_deterministic"),
    (BrokenFactory(FailsOnNothing), "test_no_input_gives_no_rows"),
    (BrokenFactory(StagesDiffer), "test_stages_add_up"),
    (BrokenFactory(PreparationDiffers), "test_preparation_travels"),
    (BrokenFactory(ChangedPreprocessing), "test_the_recipe_is_what_is_done"),
    (BrokenFactory(OtherSize), "test_the_recipe_is_what_is_done"),
    (OneProfileTwice(), "test_choices_are_spaces_of_their_own"),
    (OffersWhatItHasNot(), "test_choices_are_spaces_of_their_own"),
    (BrokenFactory(TakesLoneStrings), "test_a_lone_text_is_refused"),
    (BrokenFactory(TakesRawForDisplay), "test_other_intensities_are_refused"),
    (BrokenFactory(UnboundSpace), "test_spec_is_bound"),
    (BrokenFactory(TwoSpacesForOne), "test_spec_is_bound"),
    (NewSpaceEachTime(), "test_spec_is_bound"),
    (BrokenFactory(dim=32), "test_spec_is_bound"),
    (BrokenFactory(OtherRecipe), "test_image_recipe_is_data"),
    (SharesOtherWeights(), "test_sharing_weights_changes_memory_only"),
    (BrokenFactory(TunesIntoOtherVectors), "test_tuning_changes_speed_only"),
    (BrokenFactory(NegativeScale), "test_logit_scale_is_usable"),
    (BrokenFactory(ClaimsATower), "test_other_towers_are_refused"),
    (BrokenFactory(state="missing"), "test_doctor_finds_the_weights"),
    (BrokenFactory(any_profile=True), "test_unknown_profile_is_refused"),
    (BrokenFactory(any_request=True), "test_unknown_ways_to_compute_are_refused"),
    (BrokenFactory(licence=""), "test_spec_is_a_template"),
]


def _suite(broken: Any) -> EncoderContract:
    class Suite(EncoderContract):
        factory: ClassVar[Any] = broken
        name: ClassVar[str] = "reference"

    return Suite()


@pytest.mark.parametrize(
    ("broken", "check"), CAUGHT, ids=[f"{getattr(f, 'encoder', type(f)).__name__}-{c}" for f, c in CAUGHT]
)
def test_the_contract_catches_a_broken_encoder(broken, check):
    with pytest.raises((AssertionError, UsageError)):
        getattr(_suite(broken), check)()


def test_changed_preprocessing_passes_every_other_check():
    """So the check that catches it is needed."""
    suite = _suite(BrokenFactory(ChangedPreprocessing))
    for name, check in EncoderContract.checks().items():
        if name != "test_the_recipe_is_what_is_done":
            check(suite)


def test_the_fakes_are_otherwise_sound():
    for check in EncoderContract.checks().values():
        check(_suite(BrokenFactory()))


def test_every_check_catches_something():
    import_check = {"test_import_is_light"}  # caught by the next test
    assert set(EncoderContract.checks()) == {check for _, check in CAUGHT} | import_check


def test_a_heavy_entry_module_is_caught():
    suite = _suite(BrokenFactory())
    type(suite).entry = "torch:nn"
    with pytest.raises(AssertionError, match="not light"):
        suite.test_import_is_light()
