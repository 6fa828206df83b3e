"""What persons say of items: votes like any other, under the voter "person:NAME"; a later word supersedes."""

from __future__ import annotations

from collections.abc import Mapping

from embedstore.contracts.labels import Vote
from embedstore.engine.gold import PERSON
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError

BY_HAND = "by hand"


def say(workspace: Workspace, label_set: str, told: Mapping[int, str], by: str) -> int:
    """Record what a person says of items (id to class); returns how many votes are new.

    Raises NotFound for a label set or item that is not there, UsageError for a class that is not.
    """
    name = by.strip().removeprefix(PERSON)
    if not name:
        raise UsageError("say who speaks: --by NAME")
    labels = workspace.catalog.labels
    found = labels.label_set(label_set)
    index = {one: number for number, one in enumerate(found.classes)}
    for said in told.values():
        if said not in index:
            raise UsageError(
                f"'{said}' is not a class of '{label_set}'; they are: {', '.join(found.classes)}"
            )
    items = workspace.catalog.items(list(told))
    votes = [
        Vote(
            item_id=item.id,
            label_set=label_set,
            value=index[told[item.id]],
            voter=f"{PERSON}{name}",
            voter_version=BY_HAND,
            input_sha256=item.sha256,
        )
        for item in items
    ]
    with workspace.catalog.writing():
        run = workspace.catalog.begin_run("label say", {"label_set": label_set})
        saved: int = labels.save_votes(votes, run)
        workspace.catalog.end_run(run, {"votes": saved})
    return saved
