"""Report rules: which findings a report states, denies, doubts, or leaves unsaid.

After NegEx (Chapman et al., A Simple Algorithm for Identifying Negated Findings and Diseases in Discharge
Summaries, J Biomed Inform 34:301, 2001) and ConText (Harkema et al., J Biomed Inform 42:839, 2009): a cue
reaches to the end of its sentence or to a terminator; the nearest cue that reaches a mention decides.
"""

from __future__ import annotations

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
    for finding, told in by_finding.items():
        for found in _own_mentions(told):
            outcome, cue_text = _judge(found, cues)
            yield _Heard(finding, outcome, found.start, found.end, cue_text)


def _own_mentions(found: list[Found]) -> list[Found]:
    """Mentions without overlap: exclusions go before doubts, denials, phrases; among those the longest."""
    if len(found) == 1:
        return found if found[0].tag != "exclude" else []
    chosen: list[Found] = []
    for role in _STRENGTH:
        free = [
            one
            for one in found
            if one.tag == role and all(one.end <= c.start or c.end <= one.start for c in chosen)
        ]
        chosen.extend(longest(free))
    return [one for one in chosen if one.tag != "exclude"]


def _judge(found: Found, cues: list[Found]) -> tuple[str, str]:
    """Outcome of a mention and the cue behind it."""
    if found.tag == "uncertain":
        return "uncertain", found.text
    deciding = _nearest(found, cues)
    if deciding is None:
        return ("absent", found.text) if found.tag == "absent" else ("present", "")
    outcome = _UNDER[deciding.tag]
    if found.tag == "absent" and outcome == "absent":
        return "uncertain", deciding.text  # "not normal": denied normality is not yet the finding
    return outcome, deciding.text


def _nearest(found: Found, cues: list[Found]) -> Found | None:
    best: tuple[int, Found] | None = None
    for cue in cues:
        if cue.tag not in _UNDER:
            continue
        if cue.start >= found.start and cue.end <= found.end:
            if f" {cue.text} " in f" {found.text} ":
                continue  # "no acute disease" as a phrase of "normal": the word is the phrase's own
            distance = 0  # "heart is not enlarged": the cue stands within the phrase's gap
        elif cue.tag in _FORWARD and cue.end <= found.start and not _stopped(cue.end, found.start, cues):
            distance = found.start - cue.end
        elif cue.tag in _BACKWARD and cue.start >= found.end and not _stopped(found.end, cue.start, cues):
            distance = cue.start - found.end
        else:
            continue
        if best is None or distance < best[0]:
            best = distance, cue
    return best[1] if best else None


def _stopped(start: int, end: int, cues: list[Found]) -> bool:
    return any(cue.tag == "terminators" and start <= cue.start < end for cue in cues)


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
