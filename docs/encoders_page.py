"""The page of encoders: what each is, from its plugin; how near it is to its reference, from parity.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedstore.contracts.encoder import EncoderSpec
from embedstore.encoders.preprocess import Recipe
from embedstore.engine.encoders import choices, list_encoders

PARITY = Path(__file__).parent / "parity.json"
HOSTS = {"RETFound": "rmaphoh", "MedSAM": "bowang-lab", "MedSAM2": "bowang-lab"}
HOSTS |= {"mae": "facebookresearch", "dinov2": "facebookresearch"}
MODALITIES = {
    "OP": "fundus photography",
    "OPT": "optical coherence tomography",
    "CR": "radiography",
    "DX": "radiography",
    "SM": "pathology slides",
    "CT": "CT",
    "MR": "MR",
    "US": "ultrasound",
    "XC": "photography",
}


INTRODUCTION = """\
What this repository ships. `embedstore encoders list` shows what is installed, `show NAME` one in full,
`doctor` what is missing and where to put it.

Parity is the largest difference of any vector's value from the authors' own code, relative to the root mean
square of theirs, over every profile and pooling (`benchmarks/parity.py`). The checkpoints are in the official
layout with weights drawn from a seed, so it proves loading and arithmetic, not the worth of a vector. Where
the library that made a model also runs it, tests hold the plugin to that library's own output within 1e-5.
"""


def page() -> Iterator[str]:
    """The whole page."""
    measured = json.loads(PARITY.read_text(encoding="utf-8"))
    yield "# Encoders\n"
    yield INTRODUCTION
    yield "| encoder | trained for | dimension | default recipe | licence of the weights | parity | against |"
    yield "|---|---|---|---|---|---|---|"
    specs = list_encoders()
    for spec in specs:
        yield f"| {' | '.join(_cell(cell) for cell in _row(spec, measured['encoders'].get(spec.name)))} |"
    yield ""
    used = ", ".join(f"{name} {version}" for name, version in measured["libraries"].items())
    yield f"Measured with {used}.\n"
    for spec in specs:
        yield from _section(spec, measured["encoders"].get(spec.name))


def _row(spec: EncoderSpec, found: Mapping[str, Any] | None) -> Iterator[str]:
    yield f"[`{spec.name}`](#{spec.name})"
    yield ", ".join(dict.fromkeys(MODALITIES.get(one, one) for one in spec.modalities)) or "no one modality"
    yield ", ".join(f"{tower.dim or tower.published_dim or 'varies'} {tower.kind}" for tower in spec.towers)
    tower = spec.tower("image")
    yield Recipe.from_json(tower.preprocess).describe() if tower and tower.preprocess else "the weights say"
    gated = ", gated" if spec.terms and spec.terms.gated else ""
    yield f"{spec.licence}{gated}"
    yield f"{found['vectors']['largest']:.2g}" if found else ""
    yield ", ".join(_commit(*one) for one in found["reference"].items()) if found else ""


def _commit(name: str, sha: str) -> str:
    return f"[{name} {sha[:7]}](https://github.com/{HOSTS[name]}/{name}/tree/{sha})"


def _section(spec: EncoderSpec, found: Mapping[str, Any] | None) -> Iterator[str]:
    yield f"## {spec.name}\n"
    if spec.terms is not None:
        forbids = f", no {spec.terms.forbids}" if spec.terms.forbids else ""
        yield f"Under {spec.terms.licence}{forbids} ({spec.terms.where}); agreed to once for a store with"
        yield f"`embedstore encoders accept {spec.name}`.\n"
    for tower in spec.towers:
        yield f"- {tower.kind}: {tower.pooling}"
    yield f"- source: {spec.source}"
    if spec.cite:
        yield f"- cite: {spec.cite}"
    if spec.notes:
        yield f"- {spec.notes}"
    yield ""
    profiles, poolings = choices(spec.name)
    if len(profiles) > 1:
        yield "| profile | whose | recipe |"
        yield "|---|---|---|"
        for one in profiles:
            words = Recipe.from_json(one.recipe).describe()
            yield f"| `{one.name}` | {_cell(one.summary)} | {_cell(words)} |"
        yield ""
    if len(poolings) > 1:
        yield "| pooling | vector |"
        yield "|---|---|"
        for name, words in poolings.items():
            yield f"| `{name}` | {_cell(words)} |"
        yield ""
    if found is not None:
        yield "| compared | off | allowed |"
        yield "|---|---|---|"
        for what in ("preprocessing", "network", "vectors"):
            for name, off in found[what]["each"].items():
                yield f"| {name} | {off:.2g} | {found[what]['allowed']:.2g} |"
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
