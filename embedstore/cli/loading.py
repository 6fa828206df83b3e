"""How an encoder is loaded: options that commands share, and the choice they make."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from embedstore.engine.requests import EncoderChoice

Function = TypeVar("Function", bound=Callable[..., Any])
_OF_ENCODER: Mapping[str, Any] = {
    "weights": None,
    "profile": "default",
    "precision": "fp32",
    "runtime": "torch",
    "device": "cpu",
    "trust": None,
}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _sha256(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _SHA256.fullmatch(value := value.strip().lower()):
        raise click.BadParameter("a sha256 has 64 hexadecimal digits")
    return value


def load_options(function: Function) -> Function:
    """--weights, --profile, --precision, --runtime, --device, --threads and --trust-code of --encoder."""
    for option in reversed(
        (
            click.option(
                "--weights", type=click.Path(path_type=Path, exists=True), help="Weights of --encoder."
            ),
            click.option(
                "--profile",
                metavar="NAME",
                default="default",
                show_default=True,
                help="Preprocessing profile of --encoder.",
            ),
            click.option(
                "--precision",
                type=click.Choice(["fp32", "bf16", "fp16", "int8"]),
                default="fp32",
                show_default=True,
                help="Precision of --encoder, part of the space; int8 is checked on your first images.",
            ),
            click.option(
                "--runtime",
                type=click.Choice(["torch", "onnx"]),
                default="torch",
                show_default=True,
                help="What runs --encoder; onnx gives the same vectors, faster on many CPUs.",
            ),
            click.option(
                "--device", metavar="NAME", default="cpu", show_default=True, help="cpu, cuda, mps."
            ),
            click.option(
                "--threads",
                metavar="N",
                type=click.IntRange(0),
                default=0,
                help="Threads of the encoder; 0 lets it choose.",
            ),
            click.option(
                "--trust-code",
                "trust",
                metavar="SHA256",
                callback=_sha256,
                help="Run an encoder file that is a program, once you have reviewed it.",
            ),
        )
    ):
        function = option(function)
    return function


def choice_of(options: Mapping[str, Any]) -> EncoderChoice | None:
    """The encoder named, and how it is loaded; None for the store's own.

    Raises click.UsageError for an option that belongs to an encoder when none is named.
    """
    from embedstore.engine.requests import EncoderChoice

    if options["encoder"]:
        loading = {key: options[key] for key in _OF_ENCODER}
        return EncoderChoice(name=options["encoder"], threads=options["threads"], **loading)
    if any(options[key] != default for key, default in _OF_ENCODER.items()):
        raise click.UsageError(
            "--weights, --profile, --precision, --runtime, --device and --trust-code belong to an encoder; "
            "name it with --encoder"
        )
    return EncoderChoice(threads=options["threads"]) if options["threads"] else None
