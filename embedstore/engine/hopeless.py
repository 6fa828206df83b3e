"""Files that hold up or kill whoever reads them: given up before each of their parts has been tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from embedstore.contracts.record import Asset

_TRIES = 3


class Hopeless:
    """Counts, for each file, the tasks in a row that broke their process with parts of it alone.

    A file may hold thousands of parts; when three tasks in a row took longer than they may, so will the rest.
    """

    def __init__(self) -> None:
        self._broken: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}

    def broke(self, assets: Sequence[Asset], reason: str) -> None:
        """A task with these parts failed as a whole."""
        paths = {asset.source.path for asset in assets}
        if len(paths) == 1:  # else nobody knows which file it was
            path = paths.pop()
            self._broken[path] += 1
            self._reasons[path] = reason

    def went_well(self, assets: Sequence[Asset]) -> None:
        """A task with these parts came back."""
        for path in {asset.source.path for asset in assets}:
            self._broken.pop(path, None)

    def reason(self, asset: Asset) -> str | None:
        """Why the file of this part is given up; None while it is not."""
        path = asset.source.path
        if self._broken[path] < _TRIES:
            return None
        return f"{self._reasons[path]}; given up after {_TRIES} tries with parts of this file"
