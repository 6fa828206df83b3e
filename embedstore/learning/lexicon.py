"""The lexicon of the report rules: findings, cues and sections, from YAML.

    name: chest
    ignored_sections: [indication, comparison]
    read_sections: [findings, impression]
    cues:
      negation_before: [no, without]        # "no effusion": what follows, to the end of the sentence
      negation_after: [is absent]           # "effusion is absent": what precedes
      pseudo_negation: [no change]          # looks like a negation and is none
      uncertain_before: [possible]
      uncertain_after: [cannot be excluded]
      uncertain_around: [versus]            # both
      historical: [history of]
      terminators: [but, there is]          # where the reach of a cue ends
    findings:
      effusion:
        phrases: [pleural effusion*]        # present, unless a cue says otherwise
        absent: [costophrenic angles ... sharp]    # absent as it stands
        uncertain: [pleural effusion versus]       # uncertain as it stands
        exclude: [pericardial effusion*]    # not this finding
        includes: [hydrothorax]             # present when another finding is
        unless: [other]                     # absent when another finding is present (for "normal")

Phrases are described in `embedstore.learning.phrases`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from embedstore.errors import BadInputFile
from embedstore.fingerprint import digest
from embedstore.learning.phrases import Phrase, PhraseTable
from embedstore.learning.yaml_file import find_yaml, mapping_of, only_keys, phrases_of, read_mapping

SHIPPED = Path(__file__).parent / "lexicons"
CUES = (
    "negation_before",
    "negation_after",
    "pseudo_negation",
    "uncertain_before",
    "uncertain_after",
    "uncertain_around",
    "historical",
    "terminators",
)
ROLES = ("phrases", "absent", "uncertain", "exclude")
_LINKS = ("includes", "unless")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """includes, unless: names of other findings, see the module."""

    name: str
    table: PhraseTable = field(compare=False)
    includes: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """version: digest of the content, so that votes can say by which rules they were made.

    phrases: those of all findings, tagged "role finding", so that a sentence is gone through once.
    memory: what sentences said, by their words; it belongs to whoever reads with the lexicon.
    """

    name: str
    version: str
    ignored_sections: frozenset[str]
    read_sections: frozenset[str]
    cues: PhraseTable = field(compare=False)
    entries: tuple[Finding, ...]
    phrases: PhraseTable = field(compare=False)
    memory: dict[tuple[str, ...], Any] = field(default_factory=dict, compare=False, repr=False)

    def only(self, finding: str) -> Lexicon:
        """The part of the lexicon that one finding needs: it, and those it is made of. Same version."""
        entry = next(one for one in self.entries if one.name == finding)
        needed = {finding, *entry.includes, *entry.unless}
        needed |= {name for one in self.entries if one.name in needed for name in one.includes}
        entries = tuple(one for one in self.entries if one.name in needed)
        return replace(self, entries=entries, phrases=_joined(entries), memory={})

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the findings, in the file's order."""
        return tuple(entry.name for entry in self.entries)


def find_lexicon(named: Path, folder: Path = Path()) -> Path:
    """The file of a lexicon, or the shipped one of that name ("chest"). Raises NotFound naming them."""
    return find_yaml(named, folder, SHIPPED, "lexicon")


def load_lexicon(path: Path) -> Lexicon:
    """Read a lexicon. Raises NotFound, or BadInputFile that names the file and the key."""
    return parse_lexicon(read_mapping(path), str(path))


@cache
def chest_lexicon() -> Lexicon:
    """The shipped lexicon for reports of chest films, in English."""
    return load_lexicon(SHIPPED / "chest.yaml")


def parse_lexicon(found: Mapping[str, Any], where: str) -> Lexicon:
    """A lexicon from a parsed file; `where` names it in errors. Raises BadInputFile."""
    only_keys(found, ("name", "ignored_sections", "read_sections", "cues", "findings"), where)
    cues = mapping_of(found.get("cues"), f"{where}: 'cues'")
    only_keys(cues, CUES, f"{where}: 'cues'")
    findings = mapping_of(found.get("findings"), f"{where}: 'findings'")
    entries = tuple(_finding(name, told, findings, where) for name, told in findings.items())
    return Lexicon(
        name=str(found.get("name", Path(where).stem)),
        version=digest(dict(found))[:12],
        ignored_sections=_headings(found, "ignored_sections", where),
        read_sections=_headings(found, "read_sections", where),
        cues=_table(cues, CUES, f"{where}: 'cues'"),
        entries=entries,
        phrases=_joined(entries),
    )


def _joined(entries: tuple[Finding, ...]) -> PhraseTable:
    return PhraseTable((f"{tag} {one.name}", phrase) for one in entries for tag, phrase in one.table.tagged)


def _headings(found: Mapping[str, Any], key: str, where: str) -> frozenset[str]:
    listed = phrases_of(found[key], f"{where}: '{key}'") if found.get(key) else ()
    return frozenset(heading.lower() for heading in listed)


def _finding(name: str, told: Any, findings: Mapping[str, Any], where: str) -> Finding:
    place = f"{where}: finding '{name}'"
    entry = mapping_of(told, place)
    only_keys(entry, (*ROLES, *_LINKS), place)
    if not {"phrases", "absent", "includes"} & set(entry):
        raise BadInputFile(f"{place}: needs 'phrases'")
    links = {}
    for key in _LINKS:
        links[key] = phrases_of(entry[key], f"{place}, '{key}'") if key in entry else ()
        for other in links[key]:
            if other not in findings or other == name:
                raise BadInputFile(f"{place}, '{key}': '{other}' is not another finding of this lexicon")
            if key in (findings[other] or {}):
                raise BadInputFile(f"{place}, '{key}': '{other}' has '{key}' itself; one level is allowed")
    return Finding(name=name, table=_table(entry, ROLES, place), **links)


def _table(entry: Mapping[str, Any], keys: tuple[str, ...], where: str) -> PhraseTable:
    return PhraseTable(
        (key, Phrase.parse(text, f"{where}, '{key}'"))
        for key in keys
        if key in entry
        for text in phrases_of(entry[key], f"{where}, '{key}'")
    )
