"""Prompts where the images of a space can meet them: in its own space, or over a bridge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embedstore.contracts.image import F32
from embedstore.engine.bridges import OpenBridge, bridge_between
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.learning.prompts import PromptSet, Prototypes
from embedstore.learning.zeroshot import class_scores
from embedstore.storage.records import SpaceRow


@dataclass(frozen=True, slots=True, eq=False)
class PromptedSpace:
    """Prompts ready to meet the images of a space. to_joint: carries image vectors to where prompts are.

    texts: (t, dim) vectors of the prompts' sentences there.
    """

    space: SpaceRow
    prompts: PromptSet
    texts: F32
    prototypes: Prototypes
    bridge: OpenBridge | None
    to_joint: Callable[[F32], F32] | None

    def scores(self, vectors: F32) -> F32:
        """(n, dim) stored image vectors to (n, classes) scores, larger is likelier."""
        found: F32 = class_scores(self.prototypes, self.meeting(vectors))
        return found

    def meeting(self, vectors: F32) -> F32:
        """(n, dim) stored image vectors to where they meet the prompts."""
        return self.to_joint(vectors) if self.to_joint else vectors


def prompt(
    workspace: Workspace, prompts: PromptSet, encoder: str | None, bridge: str | None
) -> PromptedSpace:
    """Embed a prompt set where the images of `encoder` can meet it. Raises BridgeMissing."""
    space = workspace.space("image", encoder)
    if space.spec.get("shared_space"):
        if bridge is not None:
            raise UsageError(
                f"'{space.encoder}' reads images and texts in one space; leave out bridge '{bridge}'"
            )
        vectors = workspace.encoder_of(space, "text").encode_texts(prompts.texts)
        return PromptedSpace(space, prompts, vectors, prompts.prototypes(vectors), None, None)
    over = bridge_between(workspace, space, bridge)
    texts = workspace.catalog.space(over.text_space)
    vectors = over.bridge.texts_to_joint(workspace.encoder_of(texts, "text").encode_texts(prompts.texts))
    ensembled = prompts.prototypes(vectors)
    return PromptedSpace(space, prompts, vectors, ensembled, over, over.bridge.images_to_joint)


def template_in(workspace: Workspace, encoder: str | None) -> str:
    """The template for prompt sets that name none: what the texts of a shared space were trained as."""
    spec = workspace.space("image", encoder).spec
    return str(spec.get("prompt") or "{}") if spec.get("shared_space") else "{}"
