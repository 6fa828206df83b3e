"""`embedstore encoders list | show | doctor`: known without loading torch or any weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.lazy import PlainGroup
from embedstore.cli.shell import Shell, shared_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.contracts.encoder import EncoderSpec, TowerKind, TowerSpec, WeightsReport


@click.group(cls=PlainGroup)
def encoders() -> None:
    """List encoders, show one, look for their weights."""


@encoders.command("list")
@shared_options
@click.pass_obj
def list_(shell: Shell) -> None:
    """The installed encoders: what they read, their dimension and licence."""
    from embedstore.cli.output import table
    from embedstore.engine.encoders import list_encoders

    specs = list_encoders()

    def text() -> Iterator[Renderable]:
        yield table(
            ("encoder", "version", "images", "texts", "one space", "licence", "modalities"),
            [
                (
                    spec.name,
                    spec.version,
                    _dimension(spec, "image"),
                    _dimension(spec, "text"),
                    "yes" if spec.shared_space else "no",
                    spec.licence,
                    ", ".join(spec.modalities) or "any",
                )
                for spec in specs
            ],
            widest="modalities",
        )
        yield "Columns images and texts give the length of a vector; 'varies' depends on the checkpoint."
        yield "'embedstore encoders doctor' looks for the weights."

    shell.answer({"encoders": [_spec_json(spec) for spec in specs]}, text)


@encoders.command()
@click.argument("name")
@click.option("--profile", default="default", show_default=True, help="Preprocessing profile.")
@shared_options
@click.pass_obj
def show(shell: Shell, name: str, profile: str) -> None:
    """One encoder: source, licence, preprocessing in words, pooling, where its weights are."""
    from embedstore.cli.output import facts
    from embedstore.engine.encoders import doctor, show_encoder

    spec = show_encoder(name, profile)
    ((_, weights),) = doctor((name,))

    def text() -> Iterator[Renderable]:
        yield from facts(
            [
                ("encoder", spec.name),
                ("version", spec.version),
                ("profile", profile),
                ("licence", spec.licence),
                ("source", spec.source),
                ("cite", spec.cite or None),
                ("modalities", ", ".join(spec.modalities) or "any"),
                ("precision", spec.precision),
                ("weights", _weights(weights)),
                ("notes", spec.notes or None),
            ]
        )
        for tower in spec.towers:
            yield ""
            yield f"{tower.kind} tower"
            yield from facts(
                [
                    ("  dimension", tower.dim or "varies"),
                    ("  compared by", tower.metric),
                    ("  pooling", tower.pooling),
                    ("  reads", f"{tower.wants} values" if tower.kind == "image" else None),
                ]
            )
            yield "  preprocessing"
            yield from (f"    {step}" for step in _steps(tower))
        if spec.shared_space:
            yield ""
            yield "Both towers answer in one space: text finds images without a bridge."

    shell.answer({**_spec_json(spec), "profile": profile, "weights": asdict(weights)}, text)


@encoders.command("doctor")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@shared_options
@click.pass_obj
def doctor_(shell: Shell, names: tuple[str, ...]) -> None:
    """Whether each encoder's weights are on this machine, and if not what to fetch and where to put it.

    Nothing is loaded and nothing is downloaded. Exit status 3 when an encoder that was named has no
    usable weights.
    """
    from embedstore.cli.output import table
    from embedstore.engine.encoders import doctor
    from embedstore.errors import WeightsMissing

    found = doctor(names)

    def text() -> Iterator[Renderable]:
        yield table(
            ("encoder", "weights", "where"),
            [(name, report.state, report.path or "") for name, report in found],
            widest="where",
        )
        for name, report in found:
            if report.state != "present":
                yield f"{name}: {report.remedy}"

    shell.answer({"encoders": [{"name": name, **asdict(report)} for name, report in found]}, text)
    absent = [name for name, report in found if report.state != "present"]
    if names and absent:
        raise click.exceptions.Exit(WeightsMissing.exit_status)


def _dimension(spec: EncoderSpec, kind: TowerKind) -> str:
    tower = spec.tower(kind)
    if tower is None:
        return ""
    return str(tower.dim) if tower.dim else "varies"


def _weights(report: WeightsReport) -> str:
    if report.state == "present":
        return f"present: {report.path}" if report.path else "present (part of the package)"
    return f"{report.state}: {report.remedy}"


def _steps(tower: TowerSpec) -> list[str]:
    from embedstore.encoders.preprocess import Recipe

    if not tower.preprocess:
        return ["as the configuration beside the weights says"]
    if tower.kind == "image":
        return Recipe.from_json(tower.preprocess).describe().split("; ")
    return [f"{key}: {value}" for key, value in tower.preprocess.items()]


def _spec_json(spec: EncoderSpec) -> dict[str, Any]:
    document = asdict(spec)
    document["towers"] = {tower.kind: asdict(tower) for tower in spec.towers}
    return document
