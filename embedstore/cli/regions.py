"""The options that name a region of interest on an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from embedstore.contracts.region import Region

F = TypeVar("F", bound=Callable[..., Any])


def region_options(box: str) -> Callable[[F], F]:
    """--box, --mask and --segment. box: what the box does, in words."""

    def add(command: F) -> F:
        options = (
            click.option(
                "--box",
                metavar="X0,Y0,X1,Y1",
                callback=_box,
                help=f"{box}: pixels of the image as stored, X1 and Y1 excluded.",
            ),
            click.option(
                "--mask",
                metavar="FILE",
                help="The same by a mask: DICOM SEG or RTSTRUCT, volume, or picture that is not zero there.",
            ),
            click.option(
                "--segment",
                metavar="NAME",
                help="Which segment of --mask: number, label, or value in a picture.",
            ),
        )
        for option in reversed(options):
            command = option(command)
        return command

    return add


def region_of(options: Mapping[str, Any]) -> Region | None:
    """The region that the options name, None when they name none. Raises click.UsageError."""
    from embedstore.contracts.region import Box, MaskFile

    check_region(options)
    if options["box"] is not None:
        return Box(*options["box"])
    if options["mask"] is not None:
        return MaskFile(str(Path(options["mask"]).absolute()), options["segment"])
    return None


def check_region(options: Mapping[str, Any]) -> None:
    """Raises click.UsageError for options that do not go together."""
    if options["box"] is not None and options["mask"] is not None:
        raise click.UsageError("give --box or --mask, not both")
    if options["segment"] is not None and options["mask"] is None:
        raise click.UsageError("--segment chooses from a mask; name it with --mask")


def taken_region(options: dict[str, Any]) -> Region | None:
    """As `region_of`; the options are taken out."""
    region = region_of(options)
    for name in ("box", "mask", "segment"):
        del options[name]
    return region


def _box(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    words = [word.strip() for word in value.split(",")]
    if len(words) != 4 or not all(word.isascii() and word.isdigit() for word in words):
        raise click.BadParameter(f"'{value}' is not x0,y0,x1,y1 in whole pixels, for example 40,60,180,200")
    x0, y0, x1, y1 = map(int, words)
    if x0 >= x1 or y0 >= y1:
        raise click.BadParameter(f"'{value}' is empty: x1 must be larger than x0, and y1 than y0")
    return x0, y0, x1, y1
