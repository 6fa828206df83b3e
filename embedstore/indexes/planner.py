"""How one query is answered: pure decisions from counts, and the costs they rest on.

Two ways lead to an answer. *Scan*: gather the stored vectors of the allow-set and compare each; exact, and
its time is their bytes over the rate of gathering. *Index*: ask the index for candidates among the allow-set,
gather and re-rank those; its time hardly depends on the store's size, but a selective filter leaves an
approximate index little to find where it looks. Scanning wins while few rows are allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embedstore.contracts.index import IndexTraits

# Below this a scan of gathered rows is as fast as the index was (benchmarks/index_recall.py), and exact.
SCAN_BYTES = 6 << 20
MAX_EFFORT = 4
# Extra candidates so that ties and last-place differences at rank k are settled by the re-rank.
TIE_MARGIN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """way "scan": gather and compare all allowed rows. way "index": fetch `candidates`, then re-rank.

    effort: what the index is asked for first.
    """

    way: Literal["scan", "index"]
    candidates: int = 0
    effort: int = 1


def plan(n_total: int, n_allowed: int, dim: int, k: int, traits: IndexTraits) -> Plan:
    """Decide for a search of k rows among n_allowed of n_total vectors of `dim` float32 values.

    An exact index is always asked (its own filtered scan reads memory, not files). Otherwise a scan is chosen
    when the allowed rows are at most `SCAN_BYTES`, or when so many rows are wanted that an index would have
    to hand over most of them.
    """
    candidates = min(n_allowed, k * traits.oversample + TIE_MARGIN)
    if traits.exact:
        return Plan(way="index", candidates=candidates)
    if n_allowed * dim * 4 <= SCAN_BYTES or candidates * 4 >= n_allowed:
        return Plan(way="scan")
    return Plan(way="index", candidates=candidates)


def widened(current: Plan, n_allowed: int) -> Plan:
    """The next plan after one that did not settle the answer: more candidates and effort, at last a scan."""
    if current.effort >= MAX_EFFORT or current.candidates >= n_allowed:
        return Plan(way="scan")
    return Plan(way="index", candidates=min(n_allowed, current.candidates * 4), effort=current.effort + 1)
