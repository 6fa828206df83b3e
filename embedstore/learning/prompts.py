"""Prompt sets: what a class looks like, said in words.

A YAML file has either `classes` (one of them is true) or `findings` (each is present or absent):

    name: chest
    templates: ["chest radiograph showing {}", "{}"]
    findings:
      effusion:
        present: [a pleural effusion, fluid in the pleural space]
        absent: [no pleural effusion]
        templates: ["{}"]            # optional, in place of those above

    findings: [pneumothorax, edema]   # in short: "There is X." against "There is no X."

    classes:                          # a list of names, or name: [phrases]
      CT: [a CT slice, computed tomography]
      MR: [an MR image]

Every phrase is put into every template; a class is the mean of its normalised text vectors (Radford et al.,
Learning Transferable Visual Models From Natural Language Supervision, 2021, section 3.1.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32
from embedstore.errors import BadInputFile
from embedstore.fingerprint import digest
from embedstore.learning.polarity import read_polarity
from embedstore.learning.vectors import checked_rows, unit_rows
from embedstore.learning.yaml_file import find_yaml, mapping_of, only_keys, phrases_of, read_mapping

PromptKind = Literal["classes", "findings"]
SHIPPED = Path(__file__).parent / "prompt_sets"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLabel:
    """One class or finding. present, absent: finished sentences; absent is empty for a class."""

    name: str
    present: tuple[str, ...]
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prototypes:
    """Ensembled prompts as (c, dim) unit rows. absent is None for mutually exclusive classes."""

    present: F32
    absent: F32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """kind "classes": one label is true; "findings": each is present or absent. sha256: of the content."""

    name: str
    kind: PromptKind
    labels: tuple[PromptLabel, ...]
    sha256: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes or findings, in the file's order."""
        return tuple(label.name for label in self.labels)

    @property
    def texts(self) -> tuple[str, ...]:
        """The distinct sentences that have to be embedded."""
        return tuple(dict.fromkeys(t for label in self.labels for t in (*label.present, *label.absent)))

    def prototypes(self, vectors: NDArray[Any], texts: tuple[str, ...] | None = None) -> Prototypes:
        """Ensemble the vectors of `texts` (row by row, in any one space, joint or not)."""
        rows = unit_rows(checked_rows(vectors, "prompts"))
        at = {text: number for number, text in enumerate(texts if texts is not None else self.texts)}
        present = unit_rows(np.stack([_mean(rows, at, label.present) for label in self.labels]))
        if self.kind == "classes":
            return Prototypes(present=present)
        absent = unit_rows(np.stack([_mean(rows, at, label.absent) for label in self.labels]))
        return Prototypes(present=present, absent=absent)


def _mean(rows: F32, at: Mapping[str, int], texts: tuple[str, ...]) -> F32:
    return np.asarray(rows[[at[text] for text in texts]].mean(axis=0), dtype=np.float32)


def find_prompts(named: Path, folder: Path = Path()) -> Path:
    """The file of a prompt set, or the shipped one of that name ("chest"). Raises NotFound naming them."""
    return find_yaml(named, folder, SHIPPED, "prompt set")


def load_prompts(path: Path, template: str = "{}") -> PromptSet:
    """Read a prompt set. template: for phrases where the file names none.

    Raises NotFound, or BadInputFile that names the file and the key.
    """
    return parse_prompts(read_mapping(path), str(path), template)


def chest_prompts(template: str = "{}") -> PromptSet:
    """The shipped example for chest films: effusion, pneumothorax, nodule, cardiomegaly."""
    return load_prompts(SHIPPED / "chest.yaml", template)


def parse_prompts(found: Mapping[str, Any], where: str, template: str = "{}") -> PromptSet:
    """A prompt set from a parsed file; `where` names it in errors. Raises BadInputFile."""
    only_keys(found, ("name", "templates", "classes", "findings"), where)
    if ("classes" in found) == ("findings" in found):
        raise BadInputFile(f"{where}: needs either 'classes' or 'findings'")
    kind: PromptKind = "classes" if "classes" in found else "findings"
    name = found.get("name", Path(where).stem)
    if not isinstance(name, str) or not name.strip():
        raise BadInputFile(f"{where}: 'name' must be a text")
    templates = _templates(found.get("templates", template), f"{where}: 'templates'")
    listed = found[kind]
    if isinstance(listed, list):
        names = phrases_of(listed, f"{where}: '{kind}'")
        listed = {name: name if kind == "classes" else _pair(name) for name in names}
    entries = mapping_of(listed, f"{where}: '{kind}'")
    read = _class if kind == "classes" else _finding
    _refuse_negated(kind, tuple(map(str, entries)), where)
    labels = tuple(read(key, entry, templates, f"{where}: {kind} '{key}'") for key, entry in entries.items())
    if kind == "classes" and len(labels) < 2:
        raise BadInputFile(f"{where}: 'classes' needs at least two; for one alone use 'findings'")
    identity = [[label.name, list(label.present), list(label.absent)] for label in labels]
    return PromptSet(name=name.strip(), kind=kind, labels=labels, sha256=digest([kind, identity]))


def _class(name: str, entry: Any, templates: tuple[str, ...], where: str) -> PromptLabel:
    if isinstance(entry, dict):
        only_keys(entry, ("phrases", "templates"), where)
        templates = (
            _templates(entry["templates"], f"{where}, 'templates'") if "templates" in entry else templates
        )
        entry = entry.get("phrases", name)
    return PromptLabel(name=name, present=_filled(phrases_of(entry, where), templates))


def _finding(name: str, entry: Any, templates: tuple[str, ...], where: str) -> PromptLabel:
    if not isinstance(entry, dict) or not {"present", "absent"} <= set(entry):
        raise BadInputFile(f"{where}: needs 'present' and 'absent' phrases")
    only_keys(entry, ("present", "absent", "templates"), where)
    templates = _templates(entry["templates"], f"{where}, 'templates'") if "templates" in entry else templates
    present, absent = (phrases_of(entry[key], f"{where}, '{key}'") for key in ("present", "absent"))
    if denied := [phrase for phrase in present if _denies(phrase)]:
        raise BadInputFile(f"{where}: {denied[0]!r} denies what it is said to show; put it under 'absent'")
    if shared := set(present) & set(absent):
        raise BadInputFile(f"{where}: {sorted(shared)[0]!r} is both present and absent")
    return PromptLabel(name=name, present=_filled(present, templates), absent=_filled(absent, templates))


def _pair(name: str) -> dict[str, str]:
    return {"present": f"There is {name}.", "absent": f"There is no {name}."}


def _denies(phrase: str) -> bool:
    """Whether a phrase is but a denial: "no effusion", not "a line with no markings beyond"."""
    told = read_polarity(phrase)
    return bool(told.denied) and not told.affirmed


def _refuse_negated(kind: PromptKind, names: tuple[str, ...], where: str) -> None:
    """A finding is named for what may be there; two classes are not a thing and its absence."""
    for name in names:
        told = read_polarity(name)
        if told.affirmed or not told.denied:
            continue
        if kind == "findings":
            raise BadInputFile(
                f"{where}: finding '{name}' is the absence of '{told.denied}'; name '{told.denied}', "
                "its absence is the other side of the pair"
            )
        if told.denied in {other.lower() for other in names}:
            raise BadInputFile(
                f"{where}: class '{name}' is the absence of class '{told.denied}'; list it under 'findings'"
            )


def _templates(value: Any, where: str) -> tuple[str, ...]:
    templates = phrases_of(value, where)
    for template in templates:
        if template.count("{}") != 1:
            raise BadInputFile(f"{where}: {template!r} needs exactly one {{}} where the phrase goes")
    return templates


def _filled(phrases: tuple[str, ...], templates: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(t.replace("{}", phrase) for phrase in phrases for t in templates))
