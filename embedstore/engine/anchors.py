"""Patients who taught a bridge: what is said over it of them would be no answer but an echo."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.engine.bridges import OpenBridge
from embedstore.errors import LeakageRefused

_QUOTED = frozenset('"$`\\!')


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparing:
    """How a request leaves anchors out, and what would help where it does not.

    doing: to the patients ("to be scored"). choose: what names the images, such as --where. filters: by which
    images are spoken of, None for all. exclude: whether --exclude-anchors was given, None where there is no
    such option. named: what named the bridge, "" when it is the newest.
    """

    doing: str
    choose: str
    filters: tuple[str | None, ...]
    exclude: bool | None = None
    named: str = ""


def spared(bridge: OpenBridge | None, patients: list[str], how: Sparing) -> NDArray[np.bool_]:
    """(n,) rows of patients who did not teach the bridge: all, or those that are left by --exclude-anchors.

    Raises LeakageRefused, with a remedy that helps, when anchors were not to be left out or nobody is left.
    """
    anchors = bridge.anchor_patients if bridge else frozenset[str]()
    apart = np.array([patient not in anchors for patient in patients], bool)
    if bridge is None or apart.all() or (how.exclude and apart.any()):
        return apart
    ways = [f"choose others with {how.choose}"]
    if apart.any() and how.exclude is not None:
        ways.append("add --exclude-anchors to leave them out")
    ways.append(_bridge_without(how))
    few = len(anchors.intersection(patients))
    share = f"{few} of the {len(set(patients))} patients" if apart.any() else f"all {few} patients"
    raise LeakageRefused(f"{share} {how.doing} taught bridge '{bridge.name}'; {', or '.join(ways)}")


def _bridge_without(how: Sparing) -> str:
    """The command that learns a bridge from the images that are not spoken of."""
    known = [one for one in how.filters if one]
    after = f", then leave out {how.named}" if how.named else ""
    if len(known) < len(how.filters):
        return f'do both: {how.choose} EXPR, and embedstore bridge fit --where "not (EXPR)"{after}'
    where = " and ".join(f"not ({one})" for one in dict.fromkeys(known))
    return f"fit a bridge on others: embedstore bridge fit --where {_in_shell(where)}{after}"


def _in_shell(text: str) -> str:
    """One argument of a shell, in the quotes that are easier to read."""
    return shlex.quote(text) if _QUOTED & set(text) else f'"{text}"'
