"""Report rules: which findings a report states, denies, doubts, or leaves unsaid.

After NegEx (Chapman et al., A Simple Algorithm for Identifying Negated Findings and Diseases in Discharge
Summaries, J Biomed Inform 34:301, 2001) and ConText (Harkema et al., J Biomed Inform 42:839, 2009): a cue
reaches to the end of its sentence or to a terminator; the nearest cue that reaches a mention decides.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from embedstore.contracts.labels import ABSTAIN, LabelBatch, LabelSet, Votes
from embedstore.errors import UsageError
from embedstore.learning.lexicon import Finding, Lexicon
from embedstore.learning.phrases import Found, longest
from embedstore.learning.report_text import Sentence, sentences
from embedstore.learning.votes import finding_set

Outcome = Literal["present", "absent", "uncertain", "historical", "not mentioned"]
# What a mention becomes under the cue that reaches it.
_UNDER: Mapping[str, str] = {
    "negation_before": "absent",
    "negation_after": "absent",
    "uncertain_before": "uncertain",
    "uncertain_after": "uncertain",
    "uncertain_around": "uncertain",
    "historical": "historical",
}
_FORWARD = frozenset({"negation_before", "uncertain_before", "uncertain_around", "historical"})
_BACKWARD = frozenset({"negation_after", "uncertain_after", "uncertain_around"})
_REMEMBERED = 50_000  # sentences; reports repeat each other
_STRENGTH = ("exclude", "uncertain", "absent", "phrases")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A finding named at text[start:end]. cue: the phrase that decided, or ""."""

    finding: str
    outcome: str
    start: int
    end: int
    cue: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """outcomes: one per finding of the lexicon. mentions: in reading order, for showing why."""

    outcomes: Mapping[str, Outcome]
    mentions: tuple[Mention, ...]


def read_report(lexicon: Lexicon, text: str) -> Reading:
    """Read one report. A finding stated anywhere is present; else doubted anywhere, uncertain; else denied
    anywhere, absent; "historical" is what is only told of the past."""
    mentions: list[Mention] = []
    for sentence in sentences(text, lexicon.ignored_sections, lexicon.read_sections):
        mentions.extend(_read_sentence(lexicon, sentence))
    said: dict[str, set[str]] = {entry.name: set() for entry in lexicon.entries}
    for mention in mentions:
        said[mention.finding].add(mention.outcome)
    own = {name: _strongest(outcomes) for name, outcomes in said.items()}
    included = {entry.name: _with_included(entry, own) for entry in lexicon.entries}
    outcomes = {entry.name: _unless(entry, included) for entry in lexicon.entries}
    return Reading(outcomes=outcomes, mentions=tuple(sorted(mentions, key=lambda m: m.start)))


def _strongest(outcomes: Collection[str]) -> Outcome:
    order: tuple[Outcome, ...] = ("present", "uncertain", "absent", "historical")
    return next((outcome for outcome in order if outcome in outcomes), "not mentioned")


def _with_included(entry: Finding, own: Mapping[str, Outcome]) -> Outcome:
    if not entry.includes:
        return own[entry.name]
    # That one kind of it is denied does not deny the whole.
    return _strongest(
        [own[entry.name], *(own[n] for n in entry.includes if own[n] in ("present", "uncertain"))]
    )


def _unless(entry: Finding, outcomes: Mapping[str, Outcome]) -> Outcome:
    found = {outcomes[name] for name in entry.unless}
    if "present" in found:
        return "absent"
    return "uncertain" if "uncertain" in found else outcomes[entry.name]


class _Heard(NamedTuple):
    """A mention at words [start, end) of a sentence."""

    finding: str
    outcome: str
    start: int
    end: int
    cue: str


def _read_sentence(lexicon: Lexicon, sentence: Sentence) -> Iterator[Mention]:
    heard = lexicon.memory.get(sentence.words)
    if heard is None:
        heard = tuple(_listen(lexicon, sentence))
        if len(lexicon.memory) < _REMEMBERED:
            lexicon.memory[sentence.words] = heard
    offsets = sentence.offsets() if heard else ()
    for finding, outcome, start, end, cue in heard:
        yield Mention(
            finding=finding, outcome=outcome, start=offsets[start][0], end=offsets[end - 1][1], cue=cue
        )


def _listen(lexicon: Lexicon, sentence: Sentence) -> Iterator[_Heard]:
    cues = longest(lexicon.cues.find(sentence.words))
    walls = [False] * len(sentence.words)
    for cue in cues:
        if cue.tag == "terminators":
            walls[cue.start : cue.end] = [True] * (cue.end - cue.start)
    by_finding: dict[str, list[Found]] = {}
    for found in lexicon.phrases.find(sentence.words, walls):
        role, _, finding = found.tag.partition(" ")
        by_finding.setdefault(finding, []).append(found._replace(tag=role))
    reach = _Reach.of(cues)
    for finding, told in by_finding.items():
        for found in _own_mentions(told):
            outcome, cue_text = _judge(found, reach)
            yield _Heard(finding, outcome, found.start, found.end, cue_text)


def _own_mentions(found: list[Found]) -> list[Found]:
    """Mentions without overlap: exclusions go before doubts, denials, phrases; among those the longest."""
    if len(found) == 1:
        return found if found[0].tag != "exclude" else []
    chosen: list[Found] = []
    taken: set[int] = set()
    for role in _STRENGTH:
        free = [one for one in found if one.tag == role and taken.isdisjoint(range(one.start, one.end))]
        for one in longest(free):
            chosen.append(one)
            taken.update(range(one.start, one.end))
    return [one for one in chosen if one.tag != "exclude"]


def _judge(found: Found, reach: _Reach) -> tuple[str, str]:
    """Outcome of a mention and the cue behind it."""
    if found.tag == "uncertain":
        return "uncertain", found.text
    deciding = reach.nearest(found)
    if deciding is None:
        return ("absent", found.text) if found.tag == "absent" else ("present", "")
    outcome = _UNDER[deciding.tag]
    if found.tag == "absent" and outcome == "absent":
        return "uncertain", deciding.text  # "not normal": denied normality is not yet the finding
    return outcome, deciding.text


@dataclass(frozen=True, slots=True)
class _Reach:
    """The cues of a sentence, which do not overlap, in reading order; where those that reach forward end,
    those that reach backward and all of them start, and where terminators stand."""

    cues: list[Found]
    forward: list[Found]
    backward: list[Found]
    walls: list[int]
    starts: list[int]
    forward_ends: list[int]
    backward_starts: list[int]

    @classmethod
    def of(cls, cues: list[Found]) -> _Reach:
        deciding = [cue for cue in cues if cue.tag in _UNDER]
        forward, backward = (
            [cue for cue in cues if cue.tag in directed] for directed in (_FORWARD, _BACKWARD)
        )
        return cls(
            deciding,
            forward,
            backward,
            [cue.start for cue in cues if cue.tag == "terminators"],
            [cue.start for cue in deciding],
            [cue.end for cue in forward],
            [cue.start for cue in backward],
        )

    def nearest(self, found: Found) -> Found | None:
        """The cue that decides a mention: the nearest, of two as near the one before."""
        reaching = [one for one in (self._before(found), self._within(found), self._after(found)) if one]
        return min(reaching, key=lambda one: one[0])[1] if reaching else None

    def _before(self, found: Found) -> tuple[int, Found] | None:
        place = bisect_right(self.forward_ends, found.start) - 1
        if place < 0 or self._stopped(self.forward_ends[place], found.start):
            return None
        return found.start - self.forward_ends[place], self.forward[place]

    def _after(self, found: Found) -> tuple[int, Found] | None:
        place = bisect_left(self.backward_starts, found.end)
        if place == len(self.backward) or self._stopped(found.end, self.backward_starts[place]):
            return None
        return self.backward_starts[place] - found.end, self.backward[place]

    def _within(self, found: Found) -> tuple[int, Found] | None:
        # "heart is not enlarged": a cue in the gap of a phrase. In "no acute disease" as a phrase of "normal"
        # the word is the phrase's own.
        for place in range(bisect_left(self.starts, found.start), bisect_left(self.starts, found.end)):
            cue = self.cues[place]
            if cue.end <= found.end and f" {cue.text} " not in f" {found.text} ":
                return 0, cue
        return None

    def _stopped(self, start: int, end: int) -> bool:
        place = bisect_left(self.walls, start)
        return place < len(self.walls) and self.walls[place] < end


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleVoter:
    """Votes on one finding by the report's words: present 1, absent 0, else it abstains.

    Raises UsageError for a finding that the lexicon does not have.
    """

    lexicon: Lexicon
    finding: str
    name: str = "rules"
    needs: frozenset[str] = frozenset({"report"})

    def __post_init__(self) -> None:
        if self.finding not in self.lexicon.findings:
            known = ", ".join(self.lexicon.findings)
            raise UsageError(
                f"the lexicon '{self.lexicon.name}' has no finding '{self.finding}'; it has: {known}"
            )

    @property
    def version(self) -> str:
        """The lexicon's."""
        return self.lexicon.version

    @property
    def label_set(self) -> LabelSet:
        """Absent or present, named for the finding."""
        return finding_set(self.finding)

    def __call__(self, batch: LabelBatch) -> Votes:
        """(n,) 1 present, 0 absent, -1 uncertain, historical or not mentioned."""
        value = {"present": 1, "absent": 0}
        lexicon = self.lexicon.only(self.finding)
        said = [read_report(lexicon, text).outcomes[self.finding] for text in batch.texts]
        return np.array([value.get(outcome, ABSTAIN) for outcome in said], dtype=np.int64)

    def probabilities(self, batch: LabelBatch) -> None:
        """None: rules do not know how sure they are."""
        return
