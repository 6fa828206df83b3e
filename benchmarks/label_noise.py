"""Planted label errors found by the audit, beside cleanlab on the same out-of-fold probabilities.

    python benchmarks/label_noise.py [REPEATS]

1,200 made images of 300 patients, three classes, 13.6 % of the labels changed; 100 seeds.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from cleanlab.filter import find_label_issues

from embedstore.learning.neighbours import nearest_rows
from embedstore.learning.noise import confident_learning, disagreeing, neighbour_shares, out_of_fold
from embedstore.learning.vectors import unit_rows
from embedstore.testing.noise import noisy_labels

AGREEMENT, K = 0.6, 10


def found_by(seed: int) -> dict[str, tuple[float, float]]:
    """Precision and recall of each way to suspect labels."""
    made = noisy_labels(seed)
    told = out_of_fold(made.vectors, made.given, made.patients, seed=seed)
    rows = unit_rows(made.vectors)
    near, _ = nearest_rows(rows, rows, K, (made.patients, made.patients))
    learned = confident_learning(made.given, told).suspect
    beside = disagreeing(made.given, neighbour_shares(made.given, near, told.shape[1]), AGREEMENT).suspect
    ways = {
        "audit": learned | beside,
        "confident learning": learned,
        "neighbours": beside,
        "cleanlab, confident_learning": find_label_issues(made.given, told, filter_by="confident_learning"),
        "cleanlab, its default": find_label_issues(made.given, told),
    }
    return {
        name: (float(made.wrong[one].mean()) if one.any() else 0.0, float(one[made.wrong].mean()))
        for name, one in ways.items()
    }


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    found = [found_by(seed) for seed in range(repeats)]
    ways = {}
    for name in found[0]:
        both = np.array([one[name] for one in found])
        ways[name] = {
            side: {"mean": round(float(values.mean()), 4), "5th": round(float(np.quantile(values, 0.05)), 4)}
            for side, values in zip(("precision", "recall"), both.T, strict=True)
        }
    document = {"repeats": repeats, "ways": ways}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
