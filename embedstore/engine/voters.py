"""Voters from a YAML file: report rules, zero-shot prompts, labelled neighbours and metadata, ready to vote.

What the file may say: `engine.voter_kinds`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedstore import discovery
from embedstore.contracts.labels import LabelingFunction, LabelSet
from embedstore.engine.prompted import prompt, template_in
from embedstore.engine.requests import ZeroShotRequest
from embedstore.engine.trusted_code import load_function
from embedstore.engine.truth import present_absent
from embedstore.engine.voter_kinds import FILE_KEYS, VOTER_KINDS
from embedstore.engine.workspace import Workspace
from embedstore.engine.zeroshot import calibration_for
from embedstore.errors import BadInputFile, NotFound, Refused, UsageError, did_you_mean
from embedstore.fingerprint import digest
from embedstore.learning.heads.labels import encode_labels
from embedstore.learning.judging import FunctionVoter
from embedstore.learning.lexicon import find_lexicon, load_lexicon
from embedstore.learning.metadata_voter import MetadataVoter
from embedstore.learning.prompts import find_prompts, load_prompts
from embedstore.learning.rules import RuleVoter
from embedstore.learning.votes import BINARY, KnnVoter, PredictionVoter, ZeroShotVoter
from embedstore.learning.yaml_file import flag_of, mapping_of, name_of, names_of, only_keys, read_mapping
from embedstore.storage.filters import parse_where

NEEDS = frozenset({"report", "metadata", "vectors"})


@dataclass(frozen=True, slots=True, eq=False)
class Voter:
    """A labelling function under the name its file gives it. barred: patients it must not judge (they taught
    it); their votes are abstentions. notes: what a reader of its votes should know."""

    name: str
    function: LabelingFunction
    barred: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Setting:
    workspace: Workspace
    label_set: LabelSet
    folder: Path
    encoder: str | None
    name: str
    told: Mapping[str, Any]
    trusted: tuple[str, ...] = ()

    def file(self, key: str) -> Path | None:
        """A file named in the YAML, relative to the YAML's own folder."""
        return self.folder / str(self.told[key]) if key in self.told else None


def load_voters(
    workspace: Workspace,
    path: Path,
    label_set: str | None,
    encoder: str | None,
    trusted: tuple[str, ...] = (),
) -> tuple[LabelSet, tuple[Voter, ...]]:
    """Read a voters file and build its voters. trusted: sha256 of Python files that may run.

    Raises BadInputFile naming file and voter, Refused for a Python file that is not trusted.
    """
    found = read_mapping(path)
    only_keys(found, FILE_KEYS, str(path))
    name = label_set or found.get("label_set")
    if not isinstance(name, str) or not name.strip():
        raise BadInputFile(f"{path}: 'label_set' is missing; add it, or give --label-set NAME")
    classes = names_of(found.get("classes", list(BINARY)), f"{path}: 'classes'")
    labels = LabelSet(name=name.strip(), classes=classes)
    voters = []
    for voter, told in mapping_of(found.get("voters"), f"{path}: 'voters'").items():
        where = f"{path}: voter '{voter}'"
        told = mapping_of(told, where)
        kind = str(told.get("kind"))
        build = _BUILDERS.get(kind)
        if build is None:
            hint = did_you_mean(kind, _BUILDERS)
            raise BadInputFile(
                f"{where}: 'kind' is one of {', '.join(_BUILDERS)}, not '{kind}'; {hint}".rstrip("; ")
            )
        setting = _Setting(workspace, labels, path.parent, encoder, str(voter), told, trusted)
        only_keys(told, ("kind", *VOTER_KINDS[kind].keys), where)
        try:
            voters.append(build(setting))
        except (BadInputFile, UsageError) as error:
            raise BadInputFile(f"{where}: {error}") from error
        except (NotFound, Refused) as error:
            raise type(error)(f"{where}: {error}") from error
    return labels, tuple(voters)


def _no_finding(what: str, finding: str, known: tuple[str, ...]) -> str:
    return f"{what} has no finding '{finding}'; {did_you_mean(finding, known)}it has: {', '.join(known)}"


def _rules(setting: _Setting) -> Voter:
    lexicon = load_lexicon(find_lexicon(Path(str(setting.told.get("lexicon", "chest"))), setting.folder))
    finding = str(setting.told.get("finding", setting.label_set.name))
    if finding not in lexicon.findings:
        raise UsageError(_no_finding("the lexicon", finding, lexicon.findings))
    if setting.label_set.classes != BINARY:
        raise UsageError("report rules vote on classes [absent, present] only")
    return Voter(setting.name, RuleVoter(lexicon=lexicon, finding=finding))


def _zeroshot(setting: _Setting) -> Voter:
    told = setting.told
    path = find_prompts(Path(str(told.get("prompts", "chest"))), setting.folder)
    prompts = load_prompts(path, template_in(setting.workspace, setting.encoder))
    prompted = prompt(setting.workspace, prompts, setting.encoder, told.get("bridge"))
    column = None
    if prompts.kind == "findings":
        finding = str(told.get("finding", setting.label_set.name))
        if finding not in prompts.classes:
            raise UsageError(_no_finding("the prompt set", finding, prompts.classes))
        column = prompts.classes.index(finding)
    elif prompts.classes != setting.label_set.classes:
        raise UsageError("the prompts' classes are not those of the label set")
    request = ZeroShotRequest(
        classes=path,
        calibrate_where=told.get("calibrate_where"),
        truth=told.get("truth"),
        bridge=told.get("bridge"),
    )
    prevalence = told.get("prevalence")
    if prevalence is not None and prompts.kind == "classes":
        raise UsageError("'prevalence' is for findings, which are present or absent")
    calibration, taught = calibration_for(setting.workspace, prompted, request, prevalence, voter=True)
    identity = [prompts.sha256, prompted.bridge.name if prompted.bridge else None, told.get("threshold")]
    identity.append(calibration.to_json() if calibration else None)
    voter = ZeroShotVoter(
        label_set=setting.label_set,
        version=digest(identity)[:16],
        prototypes=prompted.prototypes,
        column=column,
        calibration=calibration,
        threshold=told.get("threshold"),
        to_joint=prompted.to_joint,
    )
    anchors = prompted.bridge.anchor_patients if prompted.bridge else frozenset[str]()
    own = prompts.classes[column] if column is not None else ""
    notes = tuple(note for note in (calibration.notes if calibration else ()) if note.startswith(own))
    return Voter(setting.name, voter, anchors | taught, notes)


def _neighbours(setting: _Setting) -> Voter:
    told, catalog = setting.told, setting.workspace.catalog
    space = setting.workspace.space("image", setting.encoder)
    column = str(told.get("column", f"attr.{setting.label_set.name}"))
    where = parse_where(str(told["where"])) if "where" in told else None
    items, vectors = catalog.item_vectors(space.id, catalog.select_items(where, "image"))
    values = catalog.column(items, column)
    binary = setting.label_set.classes == BINARY
    labels = present_absent(values) if binary else encode_labels(values, setting.label_set.classes)[0]
    known = labels >= 0
    if not known.any():
        said = any(value not in (None, "") for value in values)
        there = (
            f"values, but none that is a class ({', '.join(setting.label_set.classes)})"
            if said
            else "no value"
        )
        raise UsageError(
            f"column '{column}' has {there} among the {len(items)} images that may be neighbours; "
            "name another 'column' or 'where'" + (", or its values as 'classes'" if said else "")
        )
    voter = KnnVoter(
        label_set=setting.label_set,
        vectors=vectors[known],
        labels=labels[known],
        patients=np.array(catalog.patient_groups(items))[known],
        k=int(told.get("k", 5)),
        agreement=float(told.get("agreement", 0.8)),
        balanced=flag_of(told.get("balanced", False), "'balanced'"),
    )
    return Voter(setting.name, voter)


def _metadata(setting: _Setting) -> Voter:
    told = setting.told
    if "column" not in told or not isinstance(told.get("lookup"), dict):
        raise UsageError("needs 'column' and 'lookup' (a value of the column to one of the classes)")
    voter = MetadataVoter(
        label_set=setting.label_set,
        column=str(told["column"]),
        lookup={
            name_of(value, "'lookup'"): name_of(said, "'lookup'") for value, said in told["lookup"].items()
        },
        default=None if told.get("default") is None else str(told["default"]),
        name=setting.name,
    )
    return Voter(setting.name, voter)


def _head(setting: _Setting) -> Voter:
    """What a head predicted; patients it was fitted on are none of its business."""
    models, name = setting.workspace.catalog.models, str(setting.told.get("head", ""))
    spec, told = models.head(name).spec, models.predictions(name)
    if spec.classes != setting.label_set.classes:
        raise UsageError(f"head '{name}' tells {', '.join(spec.classes)} apart, which are other classes")
    if not len(told.items):
        raise UsageError(f"head '{name}' was not applied to any image; run: embedstore head apply {name}")
    arrays = models.head_arrays(name)
    fitted = arrays["items"][~arrays["in_test"].astype(bool)]
    threshold = float(setting.told.get("threshold", 0.0))
    voter = PredictionVoter(
        label_set=setting.label_set,
        version=digest([spec.name, spec.space, spec.data_sha256, spec.seed, threshold])[:16],
        items=told.items,
        predicted=told.probabilities,
        threshold=threshold,
    )
    return Voter(setting.name, voter, frozenset(setting.workspace.catalog.patient_groups(fitted)))


def _python(setting: _Setting) -> Voter:
    path = setting.file("file")
    if path is None:
        raise UsageError("needs 'file', a Python file with the function")
    needs = setting.told.get("needs", ["report", "metadata"])
    if not isinstance(needs, list) or not set(needs) <= NEEDS:
        raise UsageError(f"'needs' is a list of {', '.join(sorted(NEEDS))}")
    function, sha256 = load_function(path, str(setting.told.get("function", "vote")), setting.trusted)
    voter = FunctionVoter(
        label_set=setting.label_set,
        function=function,
        code_sha256=sha256,
        name=setting.name,
        needs=frozenset(needs),
        columns=tuple(map(str, setting.told.get("columns", ()))),
    )
    return Voter(setting.name, voter)


def _plugin(setting: _Setting) -> Voter:
    """A labelling function that an installed package offers (entry point `embedstore.labeling`)."""
    function = discovery.find_plugin(discovery.LABELERS, str(setting.told.get("plugin"))).load()
    if not isinstance(function, LabelingFunction):
        raise UsageError(f"plugin '{setting.told.get('plugin')}' is no labelling function")
    if function.label_set.classes != setting.label_set.classes:
        raise UsageError(f"plugin '{setting.told.get('plugin')}' votes on other classes")
    return Voter(setting.name, function)


_BUILDERS: Mapping[str, Callable[[_Setting], Voter]] = {
    "rules": _rules,
    "zeroshot": _zeroshot,
    "neighbours": _neighbours,
    "metadata": _metadata,
    "head": _head,
    "python": _python,
    "plugin": _plugin,
}
