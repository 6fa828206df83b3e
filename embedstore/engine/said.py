"""What the reports of hits say of the finding a text asks for: to lie near "effusion" is not to state one.

Text encoders hardly hear a "no", so among the reports nearest to a finding many deny it. The report rules
read them; the searcher sees it beside each hit, and may keep those that say one thing only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedstore.contracts.image import I64
from embedstore.contracts.query import Query
from embedstore.errors import UsageError
from embedstore.learning.lexicon import Lexicon, chest_lexicon
from embedstore.learning.rules import read_report
from embedstore.storage.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Asked:
    """The findings of the shipped lexicon that a text names; none for a text without any, or no text."""

    findings: tuple[str, ...] = ()
    lexicon: Lexicon | None = None

    def said(self, report: str | None) -> Mapping[str, str]:
        """Each finding with what a report says of it: present, absent, uncertain, ...; {} without report."""
        if self.lexicon is None or not self.findings or not report:
            return {}
        outcomes = read_report(self.lexicon, report).outcomes
        return {name: outcomes[name] for name in self.findings}

    def note(self, said: Sequence[Mapping[str, str]], says: str | None) -> str:
        """How many of the hits' reports say what, "" when nothing was read."""
        read = [one for one in said if one]
        if not read:
            return ""
        counted = "; ".join(f"{name}: {_counts([one[name] for one in read])}" for name in self.findings)
        hint = "" if says else " (--says present keeps those that state it)"
        return f"by the report rules, of {len(read)} reports, {counted}{hint}"


def asked_in(query: Query) -> Asked:
    """The findings that the query's text names. Raises UsageError when --says has none to go by."""
    if not (query.text or query.says):  # reading the lexicon takes longer than a search
        return Asked()
    lexicon = chest_lexicon()
    mentions = read_report(lexicon, query.text).mentions if query.text else ()
    findings = tuple(dict.fromkeys(mention.finding for mention in mentions))
    if query.says and not findings:
        raise UsageError(
            f"--says goes by a finding named in --text; the rules know: {', '.join(lexicon.findings)}"
        )
    return Asked(findings, lexicon)


def saying(catalog: Catalog, space_id: int, allow: I64, asked: Asked, says: str) -> I64:
    """The allowed vectors whose reports say that of every finding asked for. Reads each of them."""
    if not len(allow):
        return allow
    texts = catalog.texts(catalog.vector_items(space_id, allow).items)
    kept = [bool(said) and set(said.values()) == {says} for said in map(asked.said, texts)]
    return np.asarray(allow[np.array(kept, dtype=bool)])


def _counts(outcomes: Sequence[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in Counter(outcomes).most_common())
