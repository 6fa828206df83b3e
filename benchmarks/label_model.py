"""Fused labels against the majority vote on made votes: 10,000 items, 10 voters, dense to very sparse.

    python benchmarks/label_model.py [REPEATS]

Accuracy is over items that somebody voted on; the majority's ties are decided by a fair coin.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from embedstore.learning.labelmodel import fit_dawid_skene
from embedstore.learning.vote_counts import majority_vote
from embedstore.testing.votes import made_votes

ITEMS, VOTERS, SILENCES = 10_000, 10, (1.0, 20.0, 100.0, 1000.0)


def once(abstain: float, seed: int) -> tuple[float, float, float, float]:
    """Share of items voted on; accuracy of majority, of the fused labels without and with silence."""
    truth, votes = made_votes(ITEMS, VOTERS, abstain=abstain, seed=seed)
    voted = (votes >= 0).any(axis=1)
    truth, votes_there = truth[voted], votes[voted]
    majority, _ = majority_vote(votes_there, 2)
    coin = np.random.default_rng([seed, 1]).integers(2, size=len(truth))
    said = [np.where(majority < 0, coin, majority)]
    for silence in (False, True):
        model = fit_dawid_skene(votes, 2, silence=silence, tolerance=1e-6)
        said.append(model.predict(votes_there).argmax(axis=1))
    return float(voted.mean()), *(float(np.mean(one == truth)) for one in said)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rows = []
    for abstain in SILENCES:
        started = time.perf_counter()
        found = np.array([once(abstain, seed) for seed in range(repeats)])
        gain = found[:, 3] - found[:, 1]
        rows.append(
            {
                "abstain": abstain,
                "voted": round(float(found[:, 0].mean()), 4),
                "majority": round(float(found[:, 1].mean()), 4),
                "fused_silence_ignored": round(float(found[:, 2].mean()), 4),
                "fused": round(float(found[:, 3].mean()), 4),
                "gain_mean": round(float(gain.mean()), 4),
                "gain_5th_percentile": round(float(np.quantile(gain, 0.05)), 4),
                "seconds_per_repeat": round((time.perf_counter() - started) / repeats, 2),
            }
        )
    document = {
        "items": ITEMS,
        "voters": VOTERS,
        "repeats": repeats,
        "seeds": f"0..{repeats - 1}",
        "rows": rows,
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
