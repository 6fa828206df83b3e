"""`embedstore encoders list | show | doctor | accept`: known without loading torch or any weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from embedstore.cli.encoders_text import doctor_text, list_text, show_text
from embedstore.cli.lazy import PlainGroup
from embedstore.cli.shell import Shell, shared_options, store_options

if TYPE_CHECKING:
    from embedstore.cli.output import Renderable
    from embedstore.contracts.encoder import EncoderSpec
    from embedstore.engine.agreements import Agreements


@click.group(cls=PlainGroup)
def encoders() -> None:
    """List encoders, show one, look for their weights."""


@encoders.command("list")
@shared_options
@click.pass_obj
def list_(shell: Shell) -> None:
    """The installed encoders: dimension, input size, licence, whether their weights are here."""
    from embedstore.engine.encoders import doctor, input_size, list_encoders

    specs = list_encoders()
    found = dict(doctor(tuple(spec.name for spec in specs)))
    rows = [(spec, input_size(spec), found[spec.name].state) for spec in specs]
    document = [
        {**_spec_json(spec), "input_size": size, "gated": _gated(spec), "weights": state}
        for spec, size, state in rows
    ]
    shell.answer({"encoders": document}, lambda: list_text(rows))


@encoders.command()
@click.argument("name")
@click.option("--profile", default="default", show_default=True, help="Preprocessing profile.")
@shared_options
@click.pass_obj
def show(shell: Shell, name: str, profile: str) -> None:
    """One encoder: source, licence, preprocessing in words, pooling, profiles, where its weights are."""
    from embedstore.engine.encoders import choices, doctor, input_size, show_encoder

    spec = show_encoder(name, profile)
    ((_, weights),) = doctor((name,))
    profiles, poolings = choices(name)
    document = {
        **_spec_json(spec),
        "profile": profile,
        "weights": asdict(weights),
        "input_size": input_size(spec),
        "gated": _gated(spec),
        "profiles": [asdict(one) for one in profiles],
        "poolings": dict(poolings),
    }
    shell.answer(document, lambda: show_text(spec, weights, profiles, poolings))


@encoders.command("doctor")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@store_options
@click.pass_obj
def doctor_(shell: Shell, names: tuple[str, ...]) -> None:
    """Whether each encoder's weights are on this machine, and if not what to fetch and where to put it.

    Nothing is loaded and nothing is downloaded. In a store, also: whose terms were agreed to, and by which
    weights it knows an encoder. Exit status 3 when an encoder that was named has no usable weights.
    """
    from embedstore.engine.encoders import doctor, show_encoder
    from embedstore.errors import WeightsMissing

    found = [(name, show_encoder(name), report) for name, report in doctor(names)]
    with ExitStack() as stack:
        agreements = _agreements(shell, stack)
        known = {
            name: (agreements.accepted(name), agreements.pins(name)) if agreements else (None, ())
            for name, _, _ in found
        }
    document = [
        {
            "name": name,
            **asdict(report),
            "licence": spec.licence,
            "terms": asdict(spec.terms) if spec.terms else None,
            "accepted": asdict(accepted) if (accepted := known[name][0]) else None,
            "pins": [asdict(pin) for pin in known[name][1]],
        }
        for name, spec, report in found
    ]
    shell.answer({"encoders": document}, lambda: doctor_text(found, known, bool(names)))
    if names and any(report.state != "present" for _, _, report in found):
        raise click.exceptions.Exit(WeightsMissing.exit_status)


@encoders.command()
@click.argument("name")
@click.option("--by", metavar="WHO", help="Who agrees; the user of this machine by default.")
@store_options
@click.pass_obj
def accept(shell: Shell, name: str, by: str | None) -> None:
    """Agree to an encoder's licence for this store.

    Needed once before the first ingest with weights that are gated or not for every use; who, when and which
    licence are recorded. The weights by which the store knew the encoder are let go of: those that are
    there at the next ingest are taken.
    """
    from getpass import getuser

    with shell.opened() as store:
        agreed = store.agreements.accept(name, by or getuser())

    def text() -> Iterator[Renderable]:
        yield f"{agreed.by} agreed to {agreed.licence} of '{agreed.encoder}' ({agreed.where}) for this store."

    shell.answer(asdict(agreed), text)


def _agreements(shell: Shell, stack: ExitStack) -> Agreements | None:
    """Those of the store, when there is one."""
    if not (shell.store / "store.json").is_file():
        return None
    return stack.enter_context(shell.opened()).agreements


def _gated(spec: EncoderSpec) -> bool:
    return spec.terms is not None and spec.terms.gated


def _spec_json(spec: EncoderSpec) -> dict[str, Any]:
    document = asdict(spec)
    document["towers"] = {tower.kind: asdict(tower) for tower in spec.towers}
    return document
