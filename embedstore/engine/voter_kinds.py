"""The kinds of voters and the keys of each in a voters file, with what they mean; docs/reference/voters.md is
made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EXAMPLE = """\
label_set: effusion                 # or given on the command line
classes: [absent, present]          # optional, this is the default
voters:
  report rules:  {kind: rules}
  prompts:       {kind: zeroshot, prompts: chest, calibrate_where: "site = 'A'", threshold: 0.8}
  neighbours:    {kind: neighbours, column: attr.effusion, where: "site = 'A'", k: 5, agreement: 0.8}
  ordering note: {kind: metadata, column: study_description, lookup: {pleural tap: present}}
  a head:        {kind: head, head: effusion-1, threshold: 0.8}
  my own:        {kind: python, file: mine.py, function: vote, needs: [report]}
  installed:     {kind: plugin, plugin: NAME}
"""
FILE_KEYS: Mapping[str, str] = {
    "label_set": "what is labelled; `--label-set SET` goes first, so that one file serves several findings",
    "classes": "names of the outcomes, which exclude each other; `[absent, present]` when left out",
    "voters": "a name for each voter, under which its votes are kept, and its kind with the keys below",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VoterKind:
    """What a kind of voter does, and its keys with their meanings."""

    meaning: str
    keys: Mapping[str, str]


_FINDING = "which finding of it; the label set's name when left out"
VOTER_KINDS: Mapping[str, VoterKind] = {
    "rules": VoterKind(
        meaning="What the report says, by rules for English chest reports: present, absent, or nothing.",
        keys={"lexicon": "a shipped lexicon (`chest`, the default) or a YAML file", "finding": _FINDING},
    ),
    "zeroshot": VoterKind(
        meaning="Which description an image is nearer to. It abstains throughout without `calibrate_where`.",
        keys={
            "prompts": "a shipped prompt set (`chest`, the default) or a YAML file",
            "finding": _FINDING,
            "bridge": "between texts and images, where the encoder needs one; the newest when left out",
            "calibrate_where": "a filter: labelled images by which scores become probabilities; it is silent "
            "on their patients",
            "truth": "column of their true class; for findings `attr.NAME` of the finding",
            "prevalence": "probabilities as if the finding were that common, in place of among those images",
            "threshold": "the least probability it votes with",
        },
    ),
    "neighbours": VoterKind(
        meaning="What the nearest labelled images of other patients carry.",
        keys={
            "column": "of their labels; `attr.NAME` of the label set when left out",
            "where": "a filter: which images are labelled; all when left out",
            "k": "how many neighbours; 5",
            "agreement": "the share of them that must name one class, above 0.5; 0.8",
            "balanced": "true: a neighbour counts the more the rarer its class is",
        },
    ),
    "metadata": VoterKind(
        meaning="A column's value, looked up.",
        keys={
            "column": "as in a filter, `attr.NAME` for further attributes",
            "lookup": "value to class, compared without regard to case",
            "default": "the class of any other value; an abstention when left out",
        },
    ),
    "head": VoterKind(
        meaning="What a head predicted (after `head apply`); silent on patients it was fitted on.",
        keys={"head": "its name", "threshold": "the least probability it votes with"},
    ),
    "python": VoterKind(
        meaning="A function of your own; it runs only with `--trust-code SHA256` of its file.",
        keys={
            "file": "the Python file",
            "function": "its name; `vote` when left out",
            "needs": "what it looks at: a list of `report`, `metadata`, `vectors`",
            "columns": "further columns it is given",
        },
    ),
    "plugin": VoterKind(
        meaning="A labelling function of an installed package (entry point `embedstore.labeling`).",
        keys={"plugin": "its name"},
    ),
}
