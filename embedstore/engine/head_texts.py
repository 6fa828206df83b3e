"""What the classes of a target look like in words, for heads that learn from few images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedstore.contracts.image import F32
from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.prompted import PromptedSpace, prompt
from embedstore.engine.truth import present_absent
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.learning.prompts import find_prompts, load_prompts


def prompted_for(workspace: Workspace, request: HeadRequest) -> PromptedSpace:
    """The request's prompts, embedded where the images can meet them. Raises UsageError, BridgeMissing."""
    if request.prompts is None:
        raise UsageError(f"a head of kind '{request.kind}' learns from words too; give --prompts YAML")
    return prompt(
        workspace, load_prompts(find_prompts(Path(request.prompts))), request.encoder, request.bridge
    )


def class_texts(prompted: PromptedSpace, target: str, classes: tuple[str, ...]) -> F32:
    """(K, dim) unit rows in the order of the classes.

    Prompts of `classes` have their names; of `findings`, one is the target, whose two classes are its sides.
    """
    prompts, found = prompted.prompts, prompted.prototypes
    if found.absent is None:
        if set(prompts.classes) != set(classes):
            raise UsageError(
                f"the prompts describe {', '.join(prompts.classes)}; the target has {', '.join(classes)}"
            )
        return np.ascontiguousarray(found.present[[prompts.classes.index(name) for name in classes]])
    name = target.removeprefix("attr.").removeprefix("label:")
    sides = present_absent(list(classes)).tolist()
    if name not in prompts.classes or sorted(sides) != [0, 1]:
        raise UsageError(
            f"the prompts have no finding '{name}' whose classes are present and absent; they have: "
            + ", ".join(prompts.classes)
        )
    row = prompts.classes.index(name)
    return np.stack([found.present[row] if side == 1 else found.absent[row] for side in sides])
