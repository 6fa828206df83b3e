"""Templates to self-contained pages: style inside, pictures as data URIs, no script, nothing fetched."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from embedstore.pages.charts import forest_svg, plot_svg, reliability_svg
from embedstore.pages.records import Interval
from embedstore.pages.text import one_line, terminal_safe

_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}


def render(template: str, **content: Any) -> str:
    """The page that a template makes of `content`; everything in it is escaped."""
    return _environment().get_template(template).render(content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("embedstore.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = data_uri
    environment.filters["line"] = lambda value: one_line(str(value))
    environment.filters["prose"] = lambda value: terminal_safe(str(value))
    environment.filters["cell"] = cell
    environment.filters["forest"] = forest_svg
    environment.filters["reliability"] = reliability_svg
    environment.filters["plot"] = plot_svg
    environment.tests["numeric"] = lambda value: isinstance(value, int | float | Interval)
    return environment


def data_uri(picture: bytes) -> str:
    """PNG or JPEG bytes as a `data:` URI. Raises ValueError for anything else."""
    kind = next((name for magic, name in _KINDS.items() if picture.startswith(magic)), None)
    if kind is None:
        raise ValueError("only PNG and JPEG pictures go into a page")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def cell(value: object) -> str:
    """A table cell as text: three decimals for a fraction, nothing for None."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return one_line(str(value))
