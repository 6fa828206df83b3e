"""Pages are self-contained, and nothing that came from a file is more than text in them."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from defusedxml import ElementTree
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedstore.contracts.query import Answer, Hit, Item, Query
from embedstore.pages.charts import forest_svg, plot_svg, reliability_svg
from embedstore.pages.contact_sheet import contact_sheet
from embedstore.pages.evaluation_page import evaluation_markdown, evaluation_page
from embedstore.pages.records import (
    Bin,
    Chip,
    Forest,
    ForestRow,
    Gallery,
    Interval,
    Line,
    Plot,
    Reliability,
    Section,
    StoryRecord,
    Table,
    Tile,
)
from embedstore.pages.render import data_uri
from embedstore.pages.story import story_page
from embedstore.pages.words import bridge_words
from tests.cli.fake_store import EVALUATION

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&\u202e\x1b[31m{{7*7}}{% raw %}"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Every element with its attributes, the text, and whether the tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def inert(html: str) -> Page:
    """Parse, and check that the page runs nothing and fetches nothing."""
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in {"script", "iframe", "object", "embed", "link", "base", "form"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#"))
    assert "url(" not in html
    assert "@import" not in html
    assert not set(html) & set("\x1b\u202e")
    return page


def png(colour: int = 90) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), colour, np.uint8)).save(out, "PNG")
    return out.getvalue()


def item(number: int = 1, text: str = "plain", kind: str = "image") -> Item:
    return Item(
        id=number,
        kind=kind,  # type: ignore[arg-type]
        path=f"/films/{text}.dcm",
        paths=(f"/films/{text}.dcm", f"/copy/{text}.dcm"),
        part="frame/3",
        sha256="ab" * 32,
        reader="dicom",
        patient=text,
        patient_known=True,
        columns={
            "modality": text,
            "age": 61.0,
            "sex": "F",
            "site": text,
            "series_description": text,
            "label": text,
        },
        extra={text: text},
        report=f"FINDINGS: {text}\nsecond line",
    )


def answer(text: str = "plain", **query: object) -> Answer:
    asked = Query(**({"text": text, "where": f"site = '{text}'"} | query))  # type: ignore[arg-type]
    hits = (
        Hit(rank=1, score=0.98765, item=item(1, text)),
        Hit(rank=2, score=0.5, item=item(2, text, "report")),
    )
    return Answer(
        query=asked,
        space="f" * 64,
        encoder=text,
        exact=True,
        matched=2,
        hits=hits,
        bridge={
            "name": text,
            "kind": "ridge",
            "anchors": 3,
            "quality": {"r_at_10": 0.3, "interval": [0.2, 0.4]},
        },
    )


def story(text: str = "plain") -> StoryRecord:
    tile = Tile(
        image=png(), title=text, lines=(text,), chips=(Chip(text=text, tone="yes"),), score=0.5, text=text
    )
    number = Interval(value=0.9, low=0.8, high=0.95)
    section = Section(
        title=text,
        lead=text,
        command=text,
        galleries=(Gallery(title=text, tiles=(tile, tile), text=text, command=text, query=tile),),
        tables=(Table(columns=(text, "n"), rows=((text, number), (None, 3)), caption=text),),
        forests=(
            Forest(
                title=text,
                axis=text,
                rows=(ForestRow(group=text, label=text, series="encoder", interval=number),),
            ),
        ),
        reliabilities=(
            Reliability(
                title=text,
                bins=(Bin(predicted=0.1, observed=0.2, images=5), Bin(predicted=0.9, observed=0.7, images=9)),
                note=text,
            ),
        ),
        notes=(text,),
    )
    return StoryRecord(
        title=text,
        subtitle=text,
        banner=f"SYNTHETIC {text}",
        facts=((text, text),),
        sections=(section,),
        glossary=((text, text),),
        made=text,
    )


def test_a_contact_sheet_shows_what_explains_a_hit() -> None:
    page = inert(contact_sheet(answer("calm"), {1: png()}.get))
    for shown in (
        "calm",
        "0.9877",
        "FINDINGS: calm",
        "/films/calm.dcm",
        "/copy/calm.dcm",
        "frame/3",
        "attr.calm",
    ):
        assert shown in page.text
    assert "site = 'calm'" in page.text
    assert "order exact" in page.text
    assert "R@10 0.300 [0.200, 0.400]" in page.text
    assert sum(tag == "img" for tag, _ in page.elements) == 1


def test_a_sheet_shows_the_query_and_says_which_hit_it_is() -> None:
    like = inert(contact_sheet(answer(text=None, like=2), {1: png(), 2: png(30)}.get))
    assert "Item 2" in like.text
    assert like.text.count("the query itself") == 1
    assert like.text.index("2. ") < like.text.index("the query itself")
    html = contact_sheet(answer(text=None, image="/case/new film.dcm"), {1: png()}.get, png(200))
    assert data_uri(png(200)) in html
    assert "new film.dcm" in inert(html).text
    assert "the query itself" not in html


def test_a_planted_script_stays_text_in_a_contact_sheet() -> None:
    page = inert(contact_sheet(answer(EVIL), {1: png()}.get))
    assert "<script>alert(1)</script>" in page.text
    assert "{{7*7}}" in page.text


def test_a_planted_script_stays_text_in_the_story() -> None:
    page = inert(story_page(story(EVIL)))
    assert page.text.count("<script>alert(1)</script>") > 15


@given(st.text(max_size=30))
@settings(max_examples=40, deadline=None)
def test_whatever_a_header_says_the_pages_stay_inert(text: str) -> None:
    inert(contact_sheet(answer(text), lambda _: None))
    inert(story_page(story(text)))


def test_a_page_says_that_scripts_and_fetches_are_forbidden() -> None:
    page = inert(story_page(story()))
    policies = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_a_hit_without_a_picture_or_an_answer_without_hits_is_said() -> None:
    assert "no picture" in inert(contact_sheet(answer(), lambda _: None)).text
    nothing = Answer(query=Query(like=7), space="0" * 64, encoder="starter", exact=False, matched=0, hits=())
    page = inert(contact_sheet(nothing, {7: png()}.get))
    assert "Nothing in the store matches." in page.text
    assert "approximate index" in page.text
    assert sum(tag == "img" for tag, _ in page.elements) == 1


def test_synthetic_images_are_called_so_on_the_sheet() -> None:
    assert "SYNTHETIC phantoms" not in contact_sheet(answer("calm"), lambda _: None)
    assert "SYNTHETIC phantoms" in contact_sheet(answer("SYNTHETIC PHANTOM"), lambda _: None)


def test_only_pictures_become_data_uris() -> None:
    assert data_uri(png()).startswith("data:image/png;base64,")
    assert data_uri(b"\xff\xd8\xff\xe0").startswith("data:image/jpeg;base64,")
    with pytest.raises(ValueError, match="PNG and JPEG"):
        data_uri(b"<svg onload=alert(1)>")


def test_charts_are_well_formed_and_stay_in_their_frame() -> None:
    rows = tuple(
        ForestRow(
            group=EVIL, label=EVIL, series="control", interval=Interval(value=v, low=v - 0.2, high=v + 0.2)
        )
        for v in (0.0, 0.5, 1.4)
    )
    root = ElementTree.fromstring(forest_svg(Forest(title=EVIL, axis=EVIL, rows=rows)))
    width = float(root.attrib["viewBox"].split()[2])
    circles = root.findall(".//circle")
    assert len(circles) == 3
    assert all(0 <= float(circle.attrib["cx"]) <= width for circle in circles)
    bins = (Bin(predicted=0.0, observed=1.0, images=1), Bin(predicted=1.0, observed=0.0, images=100))
    chart = ElementTree.fromstring(reliability_svg(Reliability(title=EVIL, bins=bins)))
    assert [float(dot.attrib["cy"]) for dot in chart.findall(".//circle")] == list(frame_of(chart))
    ElementTree.fromstring(reliability_svg(Reliability(title="empty", bins=())))


def test_a_bridge_is_described_with_what_is_known_of_it() -> None:
    assert bridge_words({}) == "bridge ? (?), learned from ? pairs"
    full = {"r_at_10": 0.3, "interval": [0.2, 0.4], "chance": 0.1, "shuffled_control": 0.11}
    words = bridge_words({"name": "b", "kind": "asif", "anchors": 9, "quality": full})
    assert words.endswith(
        "R@10 0.300 [0.200, 0.400] on patients not seen (chance 0.100, shuffled pairs 0.110)"
    )
    assert "[" not in bridge_words({"quality": full | {"interval": [None, None]}})


def frame_of(chart) -> tuple[float, float]:
    """Upper and lower edge of the square the data are drawn in."""
    frame = chart.find(".//rect").attrib
    return float(frame["y"]), float(frame["y"]) + float(frame["height"])


def test_plots_draw_lines_and_bands_inside_their_frame() -> None:
    nan = float("nan")
    x, y = (0.0, 0.5, 1.0), (-5.0, nan, 9.0)
    line = Line(label=EVIL, series="encoder", x=x, y=y, low=(-9.0, nan, 0.2), high=(0.1, nan, 9.0))
    other = Line(label="other", series="baseline", x=x, y=(0.0, 0.1, 0.2))
    plot = Plot(title=EVIL, across=EVIL, up=EVIL, lines=(line, other), note=EVIL, bottom=-0.1, top=0.3)
    chart = ElementTree.fromstring(plot_svg(plot))
    top, bottom = frame_of(chart)
    drawn = [*chart.findall(".//polyline"), *chart.findall(".//polygon")]
    heights = [float(point.split(",")[1]) for shape in drawn for point in shape.attrib["points"].split()]
    assert (min(heights), max(heights)) == (top, bottom)
    first, second = (shape.attrib["points"].split() for shape in chart.findall(".//polyline"))
    assert (len(first), len(second)) == (2, 3)  # what is not defined is left out
    assert float(second[0].split(",")[1]) == pytest.approx(bottom - 0.25 * (bottom - top))


def test_an_evaluation_is_only_text_on_its_page_and_in_markdown() -> None:
    told = replace(EVALUATION, head=EVIL, notes=(EVIL,), trained={**EVALUATION.trained, "target": EVIL})
    assert "alert(1)" in inert(evaluation_page(told)).text
    assert not re.search(r"(?<!\\)<", evaluation_markdown(told))
