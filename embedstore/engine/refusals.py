"""Parts of files that could not be read: one failure each, or one for a file that gave nothing at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from embedstore.storage.batches import Problem


class Refusals:
    """Holds back the failures of a file's parts while it is open whether the file gives anything."""

    def __init__(self) -> None:
        self._held: dict[str, list[Problem]] = {}
        self._gave: set[str] = set()

    def add(self, problem: Problem) -> Sequence[Problem]:
        """One more; those that can be recorded now."""
        if problem.path in self._gave:
            return (problem,)
        self._held.setdefault(problem.path, []).append(problem)
        return ()

    def gave(self, path: str) -> Sequence[Problem]:
        """A part of this file came in, so each failure of the others stands for itself."""
        self._gave.add(path)
        return self._held.pop(path, ())

    def all_met(self, path: str) -> Sequence[Problem]:
        """No further part of this file is to come: one failure when none came in."""
        held = self._held.pop(path, [])
        if len(held) < 2:
            return held
        (reason, times), *_ = Counter(problem.reason for problem in held).most_common(1)
        others = "" if times == len(held) else f" (and for other reasons: none of {len(held)} parts is read)"
        first = next(problem for problem in held if problem.reason == reason)
        return (replace(first, part="", reason=reason + others),)

    def rest(self) -> Sequence[Problem]:
        """What is still held when a run ends."""
        held, self._held = self._held, {}
        return [problem for problems in held.values() for problem in problems]
