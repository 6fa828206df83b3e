"""The loaded starter encoder: two towers, each imported and loaded when it is first used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from embedstore.contracts.encoder import EncoderSpec, LoadRequest
from embedstore.contracts.image import F32, ImageInput
from embedstore.encoders.preprocess import Recipe, check_texts, in_batches, stack
from embedstore_starter import weights

if TYPE_CHECKING:
    from embedstore_starter.image_tower import ImageTower
    from embedstore_starter.text_tower import TextTower

IMAGE_DIM = 1280
TEXT_DIM = 384


class StarterEncoder:
    """Implements `StagedEncoder` and `TunableEncoder`.

    A process that only decodes, or only searches by text, never pays for the other tower.
    """

    def __init__(self, spec: EncoderSpec, recipe: Recipe, request: LoadRequest) -> None:
        self.spec = spec
        self.batch_size = 4  # activations of a larger batch fall out of the processor's cache
        self.preparation = recipe.apply
        self._request = request
        self._loading = Lock()
        self._images: ImageTower | None = None
        self._texts: TextTower | None = None

    def prepare_image(self, image: ImageInput) -> F32:
        """(3, 224, 224) float32 in [-1, 1]; needs neither torch nor the weights."""
        return self.preparation(image)

    def forward_images(self, batch: F32) -> F32:
        """(n, 3, 224, 224) prepared inputs to (n, 1280)."""
        return self.image_tower().forward(batch)

    def encode_images(self, images: Sequence[ImageInput]) -> F32:
        """(n, 1280) float32, not normalised."""
        return in_batches(
            images,
            self.batch_size,
            IMAGE_DIM,
            lambda chunk: self.forward_images(stack([self.prepare_image(image) for image in chunk])),
        )

    def encode_texts(self, texts: Sequence[str]) -> F32:
        """(n, 384) float32 of length 1, as the text model gives them."""
        return self.text_tower().encode(check_texts(texts))

    def tune(self, seconds: float) -> Mapping[str, str | int | float | bool]:
        """Measure layouts, threads and batch sizes of the image tower for about `seconds`; adopt the best."""
        best = self.image_tower().tune(seconds, self._request.threads)
        self.batch_size = best.setting.batch
        return {
            "layout": best.setting.layout,
            "threads": best.setting.threads,
            "batch": best.setting.batch,
            "images_per_s": round(best.per_s, 2),
        }

    def image_tower(self) -> ImageTower:
        """The loaded image tower. Raises WeightsMissing, Refused."""
        with self._loading:
            if self._images is None:
                from embedstore_starter.image_tower import ImageTower

                (checkpoint,) = weights.read(weights.IMAGE, self._request)
                self._images = ImageTower(checkpoint, self._request.device, self._request.threads)
            return self._images

    def text_tower(self) -> TextTower:
        """The loaded text tower. Raises WeightsMissing, Refused."""
        with self._loading:
            if self._texts is None:
                from embedstore_starter.text_tower import TextTower

                tensors, tokenizer = weights.read(weights.TEXT, self._request)
                self._texts = TextTower(tensors, tokenizer, self._request.device)
            return self._texts
