"""Planted duplicates across a split: how many escape, and how many distinct pairs are flagged.

python benchmarks/leakage.py DATA [--originals 300] [--encoder starter] [--seed 0]

DATA: a folder with MANIFEST.csv (columns path, patient_group) and its images. Each original gets a copy saved
in another format, one made smaller (to 0.5-0.9), one as JPEG (quality 40-80), one cropped (each side kept to
0.85-0.95, anywhere) and one mirrored; originals are the training side, copies the test side. Escapes are the
mean over 100 draws of 200 copies, 40 of each kind. Distinct pairs: all pairs of one patient that there are,
the rest at random within a folder; true duplicates among them count as flagged. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import tempfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from embedstore.engine.leakage import find_crossings
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.evaluation.duplicates import SIDE, likeness

FOLDERS = ("cxr", "ct2d", "fundus/idrid448")
DRAWS, PER_KIND, PAIRS = 100, 40, 10_000


def smaller(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(0.5, 0.9)
    return picture.resize([max(8, int(share * side)) for side in picture.size], Image.Resampling.LANCZOS)


def as_jpeg(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    octets = io.BytesIO()
    picture.save(octets, "JPEG", quality=int(rng.integers(40, 81)))
    return Image.open(octets).copy()


def cropped(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    whole = np.array(picture.size)
    kept = (rng.uniform(0.85, 0.95, 2) * whole).astype(int)
    corner = rng.integers(0, 1 + whole - kept)
    return picture.crop(tuple(int(edge) for edge in (*corner, *(corner + kept))))


KINDS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "exact": lambda picture, rng: picture,
    "resize": smaller,
    "jpeg": as_jpeg,
    "crop": cropped,
    "flip": lambda picture, rng: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def chosen(data: Path, count: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """Rows of the manifest, one of each set of equal pictures."""
    with (data / "MANIFEST.csv").open(newline="", encoding="utf-8") as stream:
        starts = tuple(f"{folder}/" for folder in FOLDERS)
        rows = [row for row in csv.DictReader(stream) if row["path"].startswith(starts)]
    kept: dict[bytes, dict[str, str]] = {}
    for place in rng.permutation(len(rows)):
        with Image.open(data / rows[place]["path"]) as picture:
            kept.setdefault(picture.convert("L").resize((32, 32)).tobytes(), rows[place])
        if len(kept) == count:
            break
    return list(kept.values())


def saved(folder: Path, kind: str, number: int) -> Path:
    return folder / kind / f"{number}.{'png' if kind == 'original' else 'tif'}"


def plant(data: Path, folder: Path, rows: list[dict[str, str]], rng: np.random.Generator) -> None:
    for number, row in enumerate(rows):
        with Image.open(data / row["path"]) as opened:
            picture = opened.convert("L" if opened.mode in ("L", "1") else "RGB")
        for kind, made in {"original": lambda p, _: p, **KINDS}.items():
            path = saved(folder, kind, number)
            path.parent.mkdir(exist_ok=True)
            made(picture, rng).save(path)


def distinct_pairs(folder: Path, rows: list[dict[str, str]], rng: np.random.Generator) -> dict[str, object]:
    small = []
    for number in range(len(rows)):
        with Image.open(folder / "original" / f"{number}.png") as picture:
            small.append(np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
    kinds = [row["path"].split("/")[0] for row in rows]
    patients = [row["patient_group"] or row["path"] for row in rows]
    everything = [pair for pair in combinations(range(len(rows)), 2) if kinds[pair[0]] == kinds[pair[1]]]
    same = [pair for pair in everything if patients[pair[0]] == patients[pair[1]]]
    others = [pair for pair in everything if patients[pair[0]] != patients[pair[1]]]
    picked = rng.permutation(len(others))[: PAIRS - len(same)]
    pictures = np.stack(small)
    flagged = {
        name: int(likeness(*(pictures[[pair[side] for pair in pairs]] for side in (0, 1))).same.sum())
        for name, pairs in (("same_patient", same), ("other", [others[n] for n in picked]))
    }
    return {
        "pairs": len(same) + len(picked),
        "same_patient_pairs": len(same),
        "flagged_same_patient": flagged["same_patient"],
        "flagged": sum(flagged.values()),
        "share_flagged": sum(flagged.values()) / (len(same) + len(picked)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--originals", type=int, default=300)
    parser.add_argument("--encoder", default="starter")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = chosen(args.data, args.originals, rng)
        plant(args.data, folder, rows, rng)
        with Store.create(folder / "store") as store:
            for kind in ("original", *KINDS):
                choice = EncoderChoice(name=args.encoder)
                store.ingest(IngestRequest(paths=(folder / kind,), encoder=choice, site=kind))
            item_of = {item.path: item.id for item in store.items()}
            named = {
                (kind, number): item_of[str(saved(folder, kind, number))]
                for kind in ("original", *KINDS)
                for number in range(len(rows))
            }
            originals = np.array(sorted(id_ for (kind, _), id_ in named.items() if kind == "original"))
            copies = np.array(sorted(id_ for (kind, _), id_ in named.items() if kind != "original"))
            workspace = store._workspace
            crossings = find_crossings(workspace, workspace.space("image"), originals, copies)
        caught = {(pair.first, pair.second) for pair in crossings.pairs}
        escaped = {
            kind: np.array([(named["original", n], named[kind, n]) not in caught for n in range(len(rows))])
            for kind in KINDS
        }
        draws = {
            kind: np.array([rng.permutation(missed)[:PER_KIND].sum() for _ in range(DRAWS)])
            for kind, missed in escaped.items()
        }
        transformed = sum(found for kind, found in draws.items() if kind != "exact")
        result = {
            "encoder": args.encoder,
            "originals": len(rows),
            "seed": args.seed,
            "escaped_of_all": {kind: int(missed.sum()) for kind, missed in escaped.items()},
            "draws": DRAWS,
            "planted_per_draw": PER_KIND * len(KINDS),
            "mean_escapes": {
                "exact": float(draws["exact"].mean()),
                "transformed": float(np.mean(transformed)),
                "transformed_most": int(np.max(transformed)),
            },
            "distinct": distinct_pairs(folder, rows, rng),
            "looked_at": crossings.looked_at,
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
