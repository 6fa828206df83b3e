"""A progress bar that keeps out of the way: on stderr, on a terminal, for what takes over two seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 2.0


class Bar:
    """Called as `bar(stage, done, total)`; a Progress for the Store's long verbs."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.visible = sys.stderr.isatty()
        self._progress: Any = None
        self._stage = ""
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show how far a stage is; total is None while it is not known."""
        if not self.visible or time.monotonic() - self._started < PATIENCE_S:
            return
        if self._progress is None:
            self._progress = _new_progress()
            self._progress.start()
        name = stage.partition(": ")[0]
        if name != self._stage:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._stage = name
            self._task = self._progress.add_task(stage, total=total)
        self._progress.update(self._task, description=stage, completed=done, total=total)


def _new_progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
