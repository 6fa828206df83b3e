"""What `embedstore encoders` says to a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.contracts.encoder import EncoderSpec, Profile, TowerKind, TowerSpec, WeightsReport
    from embedstore.engine.requests import Agreement, Pin

Size = tuple[int, int] | None
WIDTH = 100


def list_text(rows: Sequence[tuple[EncoderSpec, Size, str]]) -> Iterator[Renderable]:
    """The table of installed encoders."""
    from embedstore.cli.output import table

    yield table(
        ("encoder", "images", "texts", "input", "licence", "weights", "modalities"),
        [
            (
                spec.name,
                _dimension(spec, "image"),
                _dimension(spec, "text"),
                _size(size) if spec.tower("image") else "",
                spec.licence + (", gated" if spec.terms and spec.terms.gated else ""),
                state,
                ", ".join(spec.modalities) or "any",
            )
            for spec, size, state in rows
        ],
        widest="encoder",
    )
    yield "Columns images and texts give the length of a vector; 'varies' depends on the weights."
    yield "'embedstore encoders doctor' says what is missing and where to put it."


def show_text(
    spec: EncoderSpec, weights: WeightsReport, profiles: Sequence[Profile], poolings: Mapping[str, str]
) -> Iterator[Renderable]:
    """One encoder."""
    from embedstore.cli.output import facts

    yield from facts(
        [
            ("encoder", spec.name),
            ("version", spec.version),
            ("profile", spec.profile),
            ("licence", spec.licence),
            ("terms", _terms(spec)),
            ("source", spec.source),
            ("cite", spec.cite or None),
            ("modalities", ", ".join(spec.modalities) or "any"),
            ("precision", spec.precision),
            ("weights", _weights(weights)),
            ("notes", spec.notes or None),
        ]
    )
    for tower in spec.towers:
        yield from _tower(tower)
    if spec.shared_space:
        yield ""
        yield "Both towers answer in one space: text finds images without a bridge."
    yield from _choices(profiles, poolings)


def _tower(tower: TowerSpec) -> Iterator[Renderable]:
    from embedstore.cli.output import facts

    yield ""
    yield f"{tower.kind} tower"
    yield from facts(
        [
            ("  dimension", tower.dim or _published(tower)),
            ("  compared by", tower.metric),
            ("  pooling", tower.pooling),
            ("  reads", f"{tower.wants} values" if tower.kind == "image" else None),
        ]
    )
    yield "  preprocessing"
    for step in _steps(tower):
        yield from _wrapped(step, "    ")


def _published(tower: TowerSpec) -> str:
    return f"{tower.published_dim} in the published weights" if tower.published_dim else "varies"


def _choices(profiles: Sequence[Profile], poolings: Mapping[str, str]) -> Iterator[Renderable]:
    from embedstore.encoders.preprocess import Recipe

    if len(profiles) > 1:
        yield ""
        yield "profiles, by --profile NAME"
        for number, one in enumerate(profiles):
            yield f"  {one.name}{_default(number)}: {one.summary}"
            for step in Recipe.from_json(one.recipe).describe().split("; "):
                yield from _wrapped(step, "    ")
    if len(poolings) > 1:
        yield ""
        yield "poolings, by --profile PROFILE+POOLING"
        for number, (name, words) in enumerate(poolings.items()):
            yield from _wrapped(f"{name}{_default(number)}: {words}", "  ")


def _wrapped(text: str, indent: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


def _default(number: int) -> str:
    return "" if number else " (default)"


def doctor_text(
    found: Sequence[tuple[str, EncoderSpec, WeightsReport]],
    known: Mapping[str, tuple[Agreement | None, tuple[Pin, ...]]],
    in_full: bool,
) -> Iterator[Renderable]:
    """The table of weights, then what is missing and what there is to agree to, encoder by encoder."""
    from embedstore.cli.output import table

    yield table(
        ("encoder", "weights", "where"),
        [(name, report.state, report.path or "") for name, _, report in found],
        widest="where",
    )
    for name, spec, report in found:
        accepted, pins = known[name]
        if report.state != "present":
            yield f"{name}: {report.remedy}"
            if in_full:
                yield from (f"  looked for {place}" for place in report.searched)
        if accepted is not None:
            yield f"{name}: {accepted.by} agreed to {accepted.licence} on {accepted.when[:10]}"
        elif spec.terms is not None:
            yield f"{name}: {_terms(spec)}; to agree for a store: embedstore encoders accept {name}"
        yield from (f"{name}: known by {pin.place}, sha256 {pin.sha256}" for pin in pins)


def _terms(spec: EncoderSpec) -> str | None:
    if spec.terms is None:
        return None
    forbids = f", no {spec.terms.forbids}" if spec.terms.forbids else ""
    gated = ", gated" if spec.terms.gated else ""
    return f"{spec.terms.licence}{forbids}{gated} ({spec.terms.where})"


def _dimension(spec: EncoderSpec, kind: TowerKind) -> str:
    tower = spec.tower(kind)
    if tower is None:
        return ""
    return str(tower.dim or tower.published_dim or "varies")


def _size(size: Size) -> str:
    return f"{size[0]}x{size[1]}" if size else "varies"


def _weights(report: WeightsReport) -> str:
    if report.state == "present":
        return f"present: {report.path}" if report.path else "present (part of the package)"
    return f"{report.state}: {report.remedy}"


def _steps(tower: TowerSpec) -> list[str]:
    from embedstore.encoders.preprocess import Recipe

    if not tower.preprocess:
        return ["the chosen weights say"]
    if tower.kind == "image":
        return Recipe.from_json(tower.preprocess).describe().split("; ")
    return [f"{key}: {value}" for key, value in tower.preprocess.items()]
