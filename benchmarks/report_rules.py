"""Report rules: speed on one core, and agreement with what others wrote about the same words.

    python benchmarks/report_rules.py FOLDER_OF_OPENI_XML [--negex Annotations-1-120.txt]

Open-i: each finding of the chest lexicon against the report's MeSH majors, with intervals over reports (one a
patient). NegEx: the sentences of Chapman's test kit (a concept, its sentence, Affirmed or Negated), read with
the chest lexicon's cues and the concept as its only finding; a doubted concept is not negated.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.contracts.record import Report
from embedstore.evaluation.intervals import bootstrap
from embedstore.learning.lexicon import SHIPPED, chest_lexicon, parse_lexicon
from embedstore.learning.rules import read_report
from embedstore.learning.yaml_file import read_mapping
from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import FileSource
from embedstore.settings import Settings

# The MeSH headings of the Open-i collection that mean what the lexicon's finding means.
MESH = {
    "effusion": ("pleural effusion",),
    "pneumothorax": ("pneumothorax", "hydropneumothorax"),
    "nodule": ("nodule", "mass", "density/thorax/round", "density/lung/upper lobe/right/round"),
    "cardiomegaly": ("cardiomegaly", "cardiac shadow/enlarged"),
    "consolidation": ("consolidation", "airspace disease", "infiltrate"),
    "pneumonia": ("pneumonia",),
    "opacity": ("opacity", "consolidation", "airspace disease", "infiltrate", "pneumonia"),
    "atelectasis": ("pulmonary atelectasis",),
    "edema": ("pulmonary edema", "pulmonary congestion"),
    "fracture": ("fractures, bone",),
    "normal": ("normal",),
}


def f1(y: np.ndarray, said: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """2 TP / (2 TP + FP + FN); a `Metric`."""
    w = np.ones(len(y)) if weights is None else weights
    hit = w @ ((y == 1) & (said == 1)).astype(float)
    wrong = w @ (y != said).astype(float)
    total = 2 * hit + wrong
    return np.divide(2 * hit, total, out=np.full(np.shape(total), np.nan), where=total > 0)


def openi(folder: Path) -> list[Report]:
    readers = ReaderSet.installed(Settings.from_environment().limits)
    found = [one for path in sorted(folder.glob("*.xml")) for one in readers.describe(FileSource.of(path))]
    return [one for one in found if isinstance(one, Report)]


def speed(texts: Sequence[str]) -> dict[str, Any]:
    rates = []
    for _ in range(5):
        lexicon = chest_lexicon()  # a new one: it remembers no sentence of the last pass
        started = time.process_time()
        for text in texts:
            read_report(lexicon, text)
        rates.append(len(texts) / (time.process_time() - started))
    return {
        "reports": len(texts),
        "mean_characters": round(float(np.mean([len(text) for text in texts]))),
        "findings": len(lexicon.entries),
        "reports_per_s_median": round(float(np.median(rates))),
        "reports_per_s_best": round(max(rates)),
    }


def against_mesh(reports: Sequence[Report]) -> list[dict[str, Any]]:
    lexicon = chest_lexicon()
    rows = []
    read = [read_report(lexicon, one.text).outcomes for one in reports]
    majors = [str(one.header.extra.get("mesh", "")).lower() for one in reports]
    headings = [[heading.strip() for heading in told.split(";")] for told in majors]
    for finding, words in MESH.items():
        truth = np.array([any(h.startswith(words) for h in told) for told in headings], dtype=np.int64)
        said = np.array([one[finding] == "present" for one in read], dtype=np.int64)
        decided = np.array([one[finding] != "uncertain" for one in read])
        people = np.arange(len(truth))[decided]
        estimate = bootstrap("f1", f1, truth[decided], said[decided], people)
        rows.append({"finding": finding, **estimate.to_json()})
    return rows


def against_negex(path: Path) -> dict[str, Any]:
    cues = read_mapping(SHIPPED / "chest.yaml")["cues"]
    truth, said, where = [], [], []
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        for row in csv.reader(stream, delimiter="\t"):
            if len(row) < 4 or row[3].strip() not in ("Affirmed", "Negated"):
                continue
            concept = " ".join(re.findall(r"[a-z0-9]+", row[1].lower()))
            if not concept:
                continue
            lexicon = parse_lexicon({"cues": cues, "findings": {"it": {"phrases": [concept]}}}, "negex")
            text = " ".join(re.sub(r"\s+", " ", row[2]).split())
            truth.append(int(row[3].strip() == "Negated"))
            said.append(int(read_report(lexicon, text).outcomes["it"] == "absent"))
            where.append(row[0])
    y, predicted = np.array(truth), np.array(said)
    return {
        **bootstrap("f1 of negated", f1, y, predicted, np.array(where)).to_json(),
        "clusters": "reports",
        "precision": round(float((y * predicted).sum() / max(predicted.sum(), 1)), 3),
        "recall": round(float((y * predicted).sum() / y.sum()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--negex", type=Path)
    args = parser.parse_args()
    reports = openi(args.folder)
    document: dict[str, Any] = {
        "speed": speed([one.text for one in reports]),
        "open_i_mesh": against_mesh(reports),
    }
    if args.negex:
        document["negex"] = against_negex(args.negex)
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
