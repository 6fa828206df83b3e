"""Drift: do new images look like those a model was made with, and do they still mean the same?

Covariate shift (other images) is tested on vectors alone; label and concept shift need a label column, and
are reported apart. Patients are drawn, permuted and counted, never images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embedstore.engine.drift_audit import strange_images
from embedstore.engine.drift_label import label_and_concept
from embedstore.engine.drift_records import DriftReport, DriftRequest
from embedstore.engine.drift_rows import ImageRows, rows_of
from embedstore.engine.requests import Progress, silent
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation.shift import PERMUTATIONS, covariate_shift, smallest_detectable_shift
from embedstore.evaluation.shift_sides import FEWEST_PATIENTS, LEVEL, Sides
from embedstore.evaluation.two_sample import holm

#: What the field calls a column of ours.
COLUMN_OF = {"vendor": "manufacturer"}


def drift(workspace: Workspace, request: DriftRequest, progress: Progress = silent) -> DriftReport:
    """Compare the images of two filters in one space.

    Patients on both sides speak for the reference alone, and are counted. Raises FilterError, UsageError (too
    few patients on a side, an image on both sides).
    """
    space = workspace.space("image", request.encoder)
    reference = rows_of(workspace, space, request.reference)
    new = rows_of(workspace, space, request.new)
    columns = [COLUMN_OF.get(name, name) for name in request.by]
    workspace.catalog.columns(reference.items[:1], columns)  # an unknown one is told before the long part
    both = len(np.intersect1d(reference.items, new.items))
    if both:
        raise UsageError(f"{both} images pass both filters; let --reference and --new exclude each other")
    returning = np.isin(new.patients, reference.patients)
    returned = len(np.unique(new.patients[returning]))
    new = new.at(~returning)
    drawn = reference.drawn(request.seed), new.drawn(request.seed)
    progress("comparing images", 0, 4)
    overall = _covariate(*drawn, request.seed, detectable=True)
    progress("comparing groups", 1, 4)
    groups = _groups(workspace, reference, new, request)
    progress("comparing meanings", 2, 4)
    told = label_and_concept(workspace, space, reference, new, request.label, request.seed)
    progress("drawing images", 3, 4)
    outliers, audit = strange_images(workspace, reference, new, request.audit, request.seed)
    progress("done", 4, 4)
    return DriftReport(
        space=space.fingerprint,
        encoder=space.encoder,
        reference={"filter": request.reference, **reference.counts(), **drawn[0].counts("used_")},
        new={
            "filter": request.new,
            **new.counts(),
            **drawn[1].counts("used_"),
            "returning_patients_left_out": returned,
        },
        covariate=overall,
        groups=groups,
        label=told.label,
        concept=told.concept,
        outliers=outliers,
        audit=audit,
        notes=(*_notes(reference, new, returned), *told.notes),
    )


def _covariate(reference: ImageRows, new: ImageRows, seed: int, detectable: bool = False) -> dict[str, Any]:
    sides = Sides.of(reference.vectors, new.vectors, reference.patients, new.patients)
    tests = covariate_shift(sides, seed=seed)
    together = holm(np.array([test.p_value for test in tests]))
    found: dict[str, Any] = {
        "shifted": bool(together.min() <= LEVEL),
        "p_value": float(together.min()),
        "tests": [test.to_json() for test in tests],
    }
    if detectable:
        drawn = sides.permuted(PERMUTATIONS, seed)
        found["smallest_detectable_shift"] = smallest_detectable_shift(sides, drawn, seed=seed)
    return found


def _groups(
    workspace: Workspace, reference: ImageRows, new: ImageRows, request: DriftRequest
) -> tuple[Mapping[str, Any], ...]:
    """Every value of each column among the new images, against the reference's images of that value.

    A value that the reference does not know is compared with all of the reference, and says so.
    """
    found: list[dict[str, Any]] = []
    for asked in request.by:
        column = COLUMN_OF.get(asked, asked)
        of_new, of_old = (_texts(workspace, side, column) for side in (new, reference))
        for value in sorted(set(of_new) - {""}):
            chosen, like = new.at(of_new == value), reference.at(of_old == value)
            against = "same" if like.n_patients >= FEWEST_PATIENTS else "all of the reference"
            beside = like if against == "same" else reference
            entry = {"by": asked, "value": value, "against": against, **chosen.counts()}
            if min(chosen.n_patients, beside.n_patients) < FEWEST_PATIENTS:
                found.append({**entry, "insufficient": f"fewer than {FEWEST_PATIENTS} patients"})
                continue
            test = _covariate(beside.drawn(request.seed), chosen.drawn(request.seed), request.seed)
            found.append({**entry, **test})
    tested = [entry for entry in found if "p_value" in entry]
    together = holm(np.array([entry["p_value"] for entry in tested])) if tested else ()
    for entry, p in zip(tested, together, strict=True):
        entry.update(p_value=float(p), shifted=bool(p <= LEVEL))
    return tuple(found)


def _texts(workspace: Workspace, side: ImageRows, column: str) -> np.ndarray[Any, np.dtype[Any]]:
    values = workspace.catalog.column(side.items, column)
    return np.array(["" if one is None else str(one) for one in values], dtype=object)


def _notes(reference: ImageRows, new: ImageRows, returned: int) -> tuple[str, ...]:
    said = []
    if returned:
        people = "1 patient" if returned == 1 else f"{returned} patients"
        said.append(f"left out of the new side, being in the reference too: {people}")
    unknown = reference.n_unknown + new.n_unknown
    if unknown:
        said.append(
            f"{unknown} images came without a patient identifier and count as a patient each: if some are of "
            "one person, the p-values are too small"
        )
    return tuple(said)
