"""Text search among the OpenI reports: precision at 10 by their MeSH labels, beside chance.

    python benchmarks/openi_search.py FOLDER_OF_XML

Each query names a finding; a report is right when its MeSH majors name it. Chance: the share of such reports.
Beside it: the same among the reports that state the finding by the report rules (`--says present`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from embedstore.contracts.query import Hit, Query
from embedstore.engine.requests import IngestRequest
from embedstore.engine.store import Store
from embedstore.errors import UsageError

QUERIES = {
    "pleural effusion": "Pleural Effusion",
    "enlarged heart, cardiomegaly": "Cardiomegaly",
    "atelectasis at the lung base": "Pulmonary Atelectasis",
    "calcified granuloma": "Calcified Granuloma",
    "degenerative changes of the thoracic spine": "Thoracic Vertebrae",
    "emphysema, hyperinflated lungs": "Lung/hyperdistention",
    "normal chest, no acute disease": "normal",
}


def stated(store: Store, text: str) -> tuple[Hit, ...]:
    """The best 10 among the reports that state the finding (--says present); none for a text without one."""
    try:
        return store.search(Query(text=text, within="reports", k=10, says="present")).hits
    except UsageError:
        return ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch, Store.create(Path(scratch) / "store") as store:
        store.ingest(IngestRequest(paths=(args.folder,)))
        reports = {
            item.id: str(item.extra.get("mesh", "")).lower() for item in store.items("kind = 'report'")
        }
        for text, heading in QUERIES.items():
            right = {number for number, mesh in reports.items() if heading.lower() in mesh}
            hits = store.search(Query(text=text, within="reports", k=10)).hits
            stating = stated(store, text)
            rows.append(
                {
                    "query": text,
                    "mesh": heading,
                    "precision_at_10": sum(hit.item.id in right for hit in hits) / 10,
                    "precision_of_those_that_state_it": round(
                        sum(hit.item.id in right for hit in stating) / len(stating), 2
                    )
                    if stating
                    else None,
                    "chance": round(len(right) / len(reports), 3),
                    "reports": len(right),
                }
            )
    mean = sum(row["precision_at_10"] for row in rows) / len(rows)
    chance = sum(row["chance"] for row in rows) / len(rows)
    print(
        json.dumps(
            {"reports": len(reports), "mean": round(mean, 3), "chance": round(chance, 3), "rows": rows},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
