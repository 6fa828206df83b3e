"""How often "no X" finds reports of X: 14 findings in 10 wordings of absence, with the rule and without.

    python benchmarks/polarity.py [--encoder NAME]

Each finding has a report that states it and one that denies it, in words that queries do not use. It is wrong
when the report that states X stands before the one that denies it. Without: the query is encoded as it is.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from embedstore.contracts.query import Query
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.learning.vectors import unit_rows

FINDINGS = (
    "atelectasis", "cardiomegaly", "consolidation", "edema", "pleural effusion", "emphysema", "fibrosis",
    "hiatal hernia", "infiltration", "mass", "nodule", "pleural thickening", "pneumonia", "pneumothorax",
)  # fmt: skip
NEGATIONS = (
    "no {}", "No evidence of {}.", "without {}", "There is no {}.", "{} is absent", "absence of {}",
    "negative for {}", "free of {}", "no {} is seen", "{} has resolved",
)  # fmt: skip
REPORTS = {
    "short": ("There is a small {} on the right.", "{} is not seen."),
    "impression": ("Impression: {}.", "Impression: no acute disease, no {}."),
    "long": (
        "Frontal and lateral views. Findings are those of {} on the left, unchanged from the prior film.",
        "Frontal and lateral views. The lungs and mediastinum look well; {} was looked for and ruled out.",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="starter")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, Store.create(Path(scratch) / "store") as store:
        filled(store, Path(scratch), EncoderChoice(name=args.encoder))
        workspace = store._workspace
        space = workspace.space("text")
        encoder = workspace.encoder_of(space, "text")
        wrong = {words: {"with the rule": 0, "without": 0} for words in REPORTS}
        for finding, template in ((f, t) for f in FINDINGS for t in NEGATIONS):
            text = template.format(finding)
            hits = store.search(Query(text=text, within="reports", k=2 * len(FINDINGS) * len(REPORTS))).hits
            place = {hit.item.report: hit.rank for hit in hits}
            plain = unit_rows(encoder.encode_texts([text]))[0]
            for words, pair in REPORTS.items():
                reports = [one.format(finding) for one in pair]
                wrong[words]["with the rule"] += place[reports[0]] < place[reports[1]]
                stated, denied = unit_rows(encoder.encode_texts(reports))
                wrong[words]["without"] += bool(plain @ stated > plain @ denied)
    document = {"encoder": space.encoder, "cases_each": len(FINDINGS) * len(NEGATIONS), "wrong": wrong}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def filled(store: Store, folder: Path, encoder: EncoderChoice) -> None:
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(folder / "a.png")
    with (folder / "reports.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["report_text", "patient_id"])
        for n, (finding, words) in enumerate(
            (f, w) for f in FINDINGS for pair in REPORTS.values() for w in pair
        ):
            writer.writerow([words.format(finding), f"P{n}"])
    request = IngestRequest(
        paths=(folder / "a.png",), reports=(folder / "reports.csv",), encoder=encoder, text_encoder=encoder
    )
    store.ingest(request)


if __name__ == "__main__":
    main()
