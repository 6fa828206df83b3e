"""From raw files to external validation with intervals: the figures of docs/worked-example.md.

python benchmarks/worked_example.py DATA [--out FOLDER] [--encoder starter] [--workers 1]

DATA: a folder with MANIFEST.csv (path, label, patient_group, site, split, view, report_text, extra), films
below cxr/, fundus pictures below fundus/idrid448/ and medmnist/pneumoniamnist_trainval.npz.
Writes the evaluation of each head as a page into FOLDER when it is given. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedstore.cli.output import plain
from embedstore.engine.comparison_records import EncoderComparisonRequest
from embedstore.engine.evaluation_records import EvaluationDocument
from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.requests import BridgeRequest, EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.errors import LeakageRefused
from embedstore.pages.evaluation_page import evaluation_page

ELSEWHERE = "site = 'radiopaedia'"
FILMS = "site in ('eurorad', 'radiopaedia')"
SECOND = "reference"


def manifest(data: Path, start: str) -> list[dict[str, str]]:
    with (data / "MANIFEST.csv").open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row["path"].startswith(start)]


def labels_of(
    data: Path, rows: list[dict[str, str]], positive: Any, names: tuple[str, str], out: Path
) -> Path:
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        writer.writerows([str(data / row["path"]), names[positive(row["label"])]] for row in rows)
    return out


def both_sites(rows: list[dict[str, str]]) -> set[str]:
    """Patients with films at more than one site."""
    sites: dict[str, set[str]] = {}
    for row in rows:
        sites.setdefault(row["patient_group"], set()).add(row["site"])
    return {patient for patient, where in sites.items() if len(where) > 1}


def told(found: EvaluationDocument) -> dict[str, Any]:
    """The numbers the page speaks of."""
    document = found.to_json()
    names = ("counts", "metrics", "shuffled", "validation", "smallest_detectable", "disjointness", "notes")
    (view, *others) = document["findings"]
    return {
        **{name: document[name] for name in names},
        "trained": {name: document["trained"][name] for name in ("images", "patients", "per_class", "sites")},
        "unsealed": document["unsealed"]["times"],
        "thresholds": [] if others else view["thresholds"],
        "subgroups": [] if others else view["subgroups"],
        "leaning": [] if others else [row for row in view["leaning"] if row["leans"]],
        "shortcut": document["shortcut"],
        "filled": sum(row["status"] == "filled" for row in document["checklist"]),
        "items": len(document["checklist"]),
    }


def ingested(
    store: Store, data: Path, path: Path, args: argparse.Namespace, encoder: str = ""
) -> Mapping[str, Any]:
    table = (data / "MANIFEST.csv",)
    choice = EncoderChoice(name=encoder or args.encoder)
    report = store.ingest(
        IngestRequest(paths=(path,), metadata=table, reports=table, encoder=choice, workers=args.workers)
    )
    return {"seen": report.seen, "images": report.images, "reports": report.reports, "failed": report.failed}


def judged(store: Store, name: str, out: Path | None, **options: Any) -> dict[str, Any]:
    found = store.evaluate_head(name, **options)
    if out is not None:
        (out / f"{name}.html").write_text(evaluation_page(found), encoding="utf-8")
    return told(found)


def films(data: Path, scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """COVID-19 against other findings: fitted on films of one teaching collection, judged on another's."""
    rows = [row for row in manifest(data, "cxr/") if row["site"] in ("eurorad", "radiopaedia")]
    labels = labels_of(
        data, rows, lambda label: "COVID" in label, ("absent", "present"), scratch / "films.csv"
    )
    request = HeadRequest(target="covid", labels=labels, where=FILMS, test_where=ELSEWHERE, name="covid-19")
    found: dict[str, Any] = {}
    with Store.create(scratch / "films") as store:
        found["ingest"] = ingested(store, data, data / "cxr", args)
        try:
            store.fit_head(request)
        except LeakageRefused as error:
            found["refused"] = str(error)
        shared = sorted(both_sites(rows))
        found["patients_of_both_sites"] = len(shared)
        apart = "".join(f" and patient_group != '{patient}'" for patient in shared)
        asked = {"labels": labels, "where": FILMS + apart, "test_where": ELSEWHERE, "target": "covid"}
        store.fit_head(HeadRequest(name="covid-19", **asked))
        by = ("attr.sex", "attr.age", "site", "view")
        found["head"] = judged(store, "covid-19", args.out, by=by, prevalence=0.1)
        bridge = store.fit_bridge(BridgeRequest(encoder=args.encoder))
        found["bridge"] = dict(bridge.quality)
        found["second_encoder"] = ingested(store, data, data / "cxr", args, SECOND)
        found["encoders"] = store.compare_encoders(EncoderComparisonRequest(**asked)).to_json()
    return found


def fundus(data: Path, scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Retinopathy that is referred (grades 2 to 4), and all grades; by patients, of one clinic."""
    rows = manifest(data, "fundus/idrid448/")
    referred = labels_of(
        data, rows, lambda label: label > "DR1", ("not referred", "referred"), scratch / "f.csv"
    )
    found: dict[str, Any] = {}
    with Store.create(scratch / "fundus") as store:
        found["ingest"] = ingested(store, data, data / "fundus" / "idrid448", args)
        for name, target, labels in (("referred", "referral", referred), ("grades", "label", None)):
            store.fit_head(HeadRequest(target=target, labels=labels, name=name, test_fraction=0.3))
            try:
                found[name] = judged(store, name, args.out, by=("site",))
            except LeakageRefused as error:
                found[f"{name}_refused"] = str(error)
                found[name] = judged(store, name, args.out, by=("site",), without_copies=True)
    return found


def pneumonia(data: Path, scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """An official split: fitted on the training images of a public set, judged on its validation images."""
    found: dict[str, Any] = {}
    with Store.create(scratch / "pneumonia") as store:
        found["ingest"] = ingested(store, data, data / "medmnist" / "pneumoniamnist_trainval.npz", args)
        store.fit_head(HeadRequest(target="label", test_where="split = 'val'", name="pneumonia"))
        try:
            found["head"] = judged(store, "pneumonia", args.out, by=("split",), prevalence=0.05)
        except LeakageRefused as error:
            found["refused"] = str(error)
            found["head"] = judged(
                store, "pneumonia", args.out, by=("split",), prevalence=0.05, without_copies=True
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, help="folder for the pages")
    parser.add_argument("--encoder", default="starter")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", choices=("films", "fundus", "pneumonia"))
    args = parser.parse_args()
    args.data = args.data.resolve()
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
    parts = {"films": films, "fundus": fundus, "pneumonia": pneumonia}
    with tempfile.TemporaryDirectory() as scratch:
        found = {
            name: part(args.data, Path(scratch), args)
            for name, part in parts.items()
            if args.only in (None, name)
        }
    print(json.dumps(plain({"encoder": args.encoder, **found}), indent=1))


if __name__ == "__main__":
    main()
