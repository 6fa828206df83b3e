"""A recorded head, taken out of the store for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from embedstore.engine.heads import open_head
from embedstore.engine.workspace import Workspace
from embedstore.errors import BadInputFile, UsageError
from embedstore.learning.heads.files import save_head
from embedstore.learning.heads.onnx import save_onnx
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.sklearn import to_sklearn


def export_head(
    workspace: Workspace,
    name: str,
    *,
    folder: Path | None = None,
    onnx: Path | None = None,
    sklearn: Path | None = None,
) -> tuple[Path, ...]:
    """Write a head as a folder (JSON and safetensors), an ONNX graph, or a scikit-learn pipeline (skops).

    Labels and the items they belong to stay in the store. Of kinds that keep training vectors (knn,
    anomaly-knn, tip-adapter) those go along. Returns what was written. Raises UsageError when nothing is
    asked for, or the kind has no such form.
    """
    head = open_head(workspace, name).head
    ways: tuple[tuple[Path | None, Callable[[FittedHead, Path], None]], ...] = (
        (folder, save_head),
        (onnx, save_onnx),
        (sklearn, _save_sklearn),
    )
    asked = [(path, write) for path, write in ways if path is not None]
    if not asked:
        raise UsageError("say as what: --folder DIR, --onnx FILE or --sklearn FILE")
    for path, write in asked:
        try:
            write(head, path)
        except OSError as error:
            raise BadInputFile(f"{path}: cannot be written: {error.strerror}") from None
    return tuple(path for path, _ in asked)


def _save_sklearn(head: FittedHead, path: Path) -> None:
    """As skops writes it: no code runs when it is read."""
    made = to_sklearn(head)
    try:
        from skops.io import dump
    except ImportError:
        raise UsageError(
            "writing a scikit-learn pipeline needs a further package: pip install 'embedstore[skops]'"
        ) from None
    dump(made, path)
