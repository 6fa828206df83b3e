"""The synthetic cohort: patients, studies, DICOM files, reports, truth; the same bytes from the same seed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.demo.anatomy import FINDINGS, SIDED, Anatomy, Lesion, draw_anatomy, draw_lesions, follow_up
from embedstore.demo.dicom_file import Exposure, uid, write_film
from embedstore.demo.phantom import optical_depth
from embedstore.demo.reports import WrittenReport, write_report
from embedstore.demo.scanners import SCANNERS, Scanner, expose
from embedstore.demo.shapes import draw_pose
from embedstore.errors import UsageError

SEED = 20_240
_VERSION = 1
_CARD = "cohort.json"
_SECOND_STUDY = 0.075


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Where a cohort lies, and how large it is.

    metadata_csv: the truth, one row per film: path (relative to `folder`), patient_id, study_uid, site, 0/1
    for each finding, its side (`right`, `left` or empty). reports_csv: path, study_uid, report.
    statements_csv: what each report says of each finding, and whether that is wrong: to score report rules
    by, not to be ingested. positives: films per finding.
    """

    folder: Path
    metadata_csv: Path
    reports_csv: Path
    statements_csv: Path
    seed: int
    n_patients: int
    n_images: int
    sites: tuple[str, ...]
    positives: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Film:
    """One film with its truth and report."""

    path: Path
    exposure: Exposure
    lesions: tuple[Lesion, ...]
    report: WrittenReport


def build_cohort(
    folder: Path,
    *,
    patients: int = 400,
    seed: int = SEED,
    progress: Callable[[int, int], None] | None = None,
) -> Cohort:
    """Write the cohort into `folder`: DICOM files, three tables, and last `cohort.json`.

    Half of the patients belong to each site, about one in thirteen has a second study. The same arguments
    give the same bytes. progress: called with (patients done, patients).
    Raises UsageError when there are fewer than two patients.
    """
    if patients < 2:
        raise UsageError(f"a cohort needs at least two patients, one per site, not {patients}")
    films: list[_Film] = []
    for number in range(patients):
        films.extend(_patient(folder, number, seed))
        if progress is not None:
            progress(number + 1, patients)
    folder.mkdir(parents=True, exist_ok=True)
    tables = folder / "cohort.csv", folder / "reports.csv", folder / "statements.csv"
    for table, rows in zip(tables, (_truth, _texts, _statements), strict=True):
        _write_table(table, [row for film in films for row in rows(film, folder)])
    positives = {name: sum(_has(film.lesions, name) for film in films) for name in FINDINGS}
    described = {
        "version": _VERSION,
        "seed": seed,
        "patients": patients,
        "images": len(films),
        "positives": positives,
    }
    (folder / _CARD).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return _cohort(folder, described)


def find_cohort(folder: Path, *, patients: int = 400, seed: int = SEED) -> Cohort | None:
    """The cohort that `build_cohort` finished in `folder` with the same arguments, or None."""
    try:
        described = json.loads((folder / _CARD).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    same = {"version": _VERSION, "seed": seed, "patients": patients}
    if not isinstance(described, dict) or any(described.get(key) != value for key, value in same.items()):
        return None
    return _cohort(folder, described)


def _cohort(folder: Path, described: Mapping[str, Any]) -> Cohort:
    return Cohort(
        folder=folder,
        metadata_csv=folder / "cohort.csv",
        reports_csv=folder / "reports.csv",
        statements_csv=folder / "statements.csv",
        seed=described["seed"],
        n_patients=described["patients"],
        n_images=described["images"],
        sites=tuple(scanner.institution for scanner in SCANNERS),
        positives=described["positives"],
    )


def _patient(folder: Path, number: int, seed: int) -> Iterator[_Film]:
    rng = np.random.default_rng([seed, number])
    scanner = SCANNERS[number % len(SCANNERS)]
    patient_id = f"SYN-{scanner.site}-{number // len(SCANNERS) + 1:04d}"
    person, lesions = draw_anatomy(rng), draw_lesions(rng)
    day, studies = int(rng.integers(0, 900)), 2 if rng.random() < _SECOND_STUDY else 1
    for study in range(studies):
        if study:
            lesions, day = follow_up(lesions, rng), day + int(rng.integers(20, 200))
        exposure = Exposure(
            scanner=scanner, patient_id=patient_id, person=person, study=study + 1, day=day, seed=seed
        )
        name = f"{patient_id}-study{study + 1}-PA-synthetic.dcm"
        path = folder / f"synthetic-site-{scanner.site.lower()}" / patient_id / name
        write_film(path, exposure, _pixels(person, lesions, scanner, rng))
        yield _Film(path=path, exposure=exposure, lesions=lesions, report=write_report(person, lesions, rng))


def _pixels(
    person: Anatomy, lesions: tuple[Lesion, ...], scanner: Scanner, rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    return expose(scanner, optical_depth(person, lesions, draw_pose(rng), scanner.shape), rng)


def _has(lesions: tuple[Lesion, ...], name: str) -> bool:
    return any(lesion.name == name for lesion in lesions)


def _key(film: _Film, folder: Path) -> dict[str, str | int]:
    study_uid = uid(film.exposure.seed, film.exposure.patient_id, "study", film.exposure.study)
    return {"path": film.path.relative_to(folder).as_posix(), "study_uid": study_uid}


def _truth(film: _Film, folder: Path) -> list[dict[str, str | int]]:
    row = _key(film, folder)
    row |= {"patient_id": film.exposure.patient_id, "site": film.exposure.scanner.site}
    row |= {name: int(_has(film.lesions, name)) for name in FINDINGS}
    sides = {lesion.name: lesion.side or "" for lesion in film.lesions}
    row |= {f"{name}_side": sides.get(name, "") for name in SIDED}
    return [row]


def _texts(film: _Film, folder: Path) -> list[dict[str, str | int]]:
    return [_key(film, folder) | {"report": film.report.text}]


def _statements(film: _Film, folder: Path) -> list[dict[str, str | int]]:
    key = _key(film, folder)
    return [
        key | {"finding": s.finding, "said": s.said, "side": s.side or "", "wrong": int(s.wrong)}
        for s in film.report.statements
    ]


def _write_table(path: Path, rows: list[dict[str, str | int]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
