"""The pictures of one class of an evaluation; under each stands what backs it."""

from __future__ import annotations

import numpy as np

from embedstore.engine.evaluation_records import FindingView
from embedstore.evaluation.curves import Curve
from embedstore.evaluation.intervals import Estimate
from embedstore.pages.records import Bin, Line, Plot, Reliability


def finding_plots(view: FindingView) -> tuple[Plot, ...]:
    """ROC, precision and recall, and the decision curve where both classes are there."""
    return (_curve(view.roc), _curve(view.precision_recall), *_decision(view))


def _backing(found: Estimate) -> str:
    return f"{found.n_images} images, {found.n_patients} patients, {found.n_positives} positives"


def _curve(curve: Curve) -> Plot:
    roc = curve.kind == "roc"
    band = {"low": curve.low, "high": curve.high} if np.isfinite(curve.low).all() else {}
    return Plot(
        title="ROC curve" if roc else "Precision and recall",
        across="1 - specificity" if roc else "recall",
        up="sensitivity" if roc else "precision",
        lines=(Line(label="head", series="encoder", x=curve.x, y=curve.y, **band),),
        note=f"{_backing(curve.area)}; band: {curve.level:.0%}, {curve.method}",
    )


def _decision(view: FindingView) -> tuple[Plot, ...]:
    if not view.decision:
        return ()
    x = tuple(one.threshold for one in view.decision)
    model, everybody = (
        tuple(getattr(one, name).value for one in view.decision) for name in ("model", "treat_all")
    )
    low, high = (tuple(getattr(one.model, side) for one in view.decision) for side in ("low", "high"))
    top = max(0.05, *(value for value in (*high, *model, *everybody) if np.isfinite(value)))
    one = view.decision[0].model
    return (
        Plot(
            title="Decision curve",
            across="threshold probability",
            up="net benefit",
            lines=(
                Line(label="act on the head", series="encoder", x=x, y=model, low=low, high=high),
                Line(label="act on everybody", series="baseline", x=x, y=everybody),
                Line(label="act on nobody", series="control", x=x, y=(0.0,) * len(x)),
            ),
            bottom=-0.25 * top,
            top=top,
            note=f"{_backing(one)}; band: {one.level:.0%}, {one.method}",
        ),
    )


def reliability_of(view: FindingView) -> Reliability:
    """The reliability diagram with a bar per bin."""
    filled = [one for one in view.reliability if one.share.n_images]
    bins = tuple(
        Bin(
            predicted=one.mean_predicted,
            observed=one.share.value,
            images=one.share.n_images,
            low=one.share.low if np.isfinite(one.share.low) else None,
            high=one.share.high if np.isfinite(one.share.high) else None,
        )
        for one in filled
    )
    note = f"{_backing(view.roc.area)}; bars: 95 %, {filled[0].share.method}" if filled else ""
    return Reliability(title="Calibration", bins=bins, note=note)
