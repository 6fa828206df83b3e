"""A head as the fitted scikit-learn pipeline that answers the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64
from embedstore.learning.heads.record import FittedHead


def to_sklearn(head: FittedHead) -> Any:
    """A fitted `sklearn.pipeline.Pipeline` of (Normalizer,) StandardScaler and the estimator.

    For heads of kind logistic, ridge and bag-mean (of mean vectors) without uncertainty; others have no
    estimator in scikit-learn that answers the same: UsageError.
    """
    if head.kind not in ("logistic", "ridge", "bag-mean"):
        raise UsageError(f"scikit-learn has no estimator like a head of kind '{head.kind}'; try ONNX")
    if head.spec.params.get("uncertainty", "none") != "none":
        raise UsageError("scikit-learn knows nothing of its uncertainty; fit a head without, or try ONNX")
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    arrays = head.arrays
    scaler = StandardScaler()
    scaler.mean_, scaler.scale_, scaler.var_ = arrays["mean"], arrays["scale"], arrays["scale"] ** 2
    scaler.n_features_in_, scaler.n_samples_seen_ = head.dim, head.spec.params["n"]
    steps: list[tuple[str, Any]] = [("scale", scaler), ("head", _estimator(head))]
    if head.spec.params["scaling"] == "unit":
        steps.insert(0, ("unit", Normalizer().fit(np.zeros((1, head.dim)))))
    return Pipeline(steps)


def _estimator(head: FittedHead) -> Any:
    from sklearn.linear_model import Ridge

    weights, bias = head.arrays["weights"], head.arrays["bias"]
    if head.kind == "ridge":
        model = Ridge(alpha=head.spec.params["penalty"])
        model.coef_, model.intercept_, model.n_features_in_ = weights[0], float(bias[0]), head.dim
        return model
    if head.task == "classes":
        return _logistic(weights, bias, np.array(head.spec.classes), head.spec.params["C"])
    from sklearn.multioutput import MultiOutputClassifier

    strengths = head.spec.params["C"].values()
    ones = [_logistic(weights[[row]], bias[[row]], np.array([0, 1]), c) for row, c in enumerate(strengths)]
    many = MultiOutputClassifier(ones[0])
    many.estimators_, many.classes_, many.n_features_in_ = ones, [one.classes_ for one in ones], head.dim
    return many


def _logistic(weights: F64, bias: F64, classes: Any, c: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c)
    model.coef_, model.intercept_, model.classes_ = weights, bias, classes
    model.n_features_in_, model.n_iter_ = weights.shape[1], np.array([0])
    return model
