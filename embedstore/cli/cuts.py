"""The options that say what one item is; commands that read images share them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from embedstore.contracts.record import Cut

Function = TypeVar("Function", bound=Callable[..., Any])
_NAMES = ("unit", "every", "tile", "mpp", "assume_mpp")


def cut_options(function: Function) -> Function:
    """--unit, --every, --tile, --mpp and --assume-mpp; see `cut_of`."""
    for option in reversed(
        (
            click.option(
                "--unit",
                type=click.Choice(["auto", "image", "frame", "slice", "volume", "tile"]),
                default="auto",
                show_default=True,
                help="What one item is; auto goes by the kind of object.",
            ),
            click.option(
                "--every", metavar="N", type=click.IntRange(1), help="Take each N-th frame, slice or tile."
            ),
            click.option(
                "--tile",
                metavar="PIXELS",
                type=click.IntRange(16, 4096),
                default=224,
                show_default=True,
                help="Side of a slide's tiles.",
            ),
            click.option(
                "--mpp",
                metavar="MICRONS",
                type=click.FloatRange(0, 100, min_open=True),
                default=0.5,
                show_default=True,
                help="Microns per pixel of a slide's tiles.",
            ),
            click.option(
                "--assume-mpp",
                metavar="MICRONS",
                type=click.FloatRange(0, 1000, min_open=True),
                help="Resolution of slides that do not say their own.",
            ),
        )
    ):
        function = option(function)
    return function


def cut_of(options: Mapping[str, Any]) -> Cut:
    """The options as the record that readers take."""
    from embedstore.contracts.record import Cut

    return Cut(**{name: options[name] for name in _NAMES})
