"""Free text: what must go in every spelling, and what must stay."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstore.privacy.dates import parsed, shifted, shifted_datetime
from embedstore.privacy.identifiers import Identifiers
from embedstore.privacy.text import clean_text, fold


def known(names: str = "", numbers: str = "", dates: str = "", phrases: str = "") -> Identifiers:
    return Identifiers(*(frozenset(filter(None, one.split("|"))) for one in (names, numbers, dates, phrases)))


@pytest.mark.parametrize(
    "written",
    [
        "Müller", "MÜLLER", "Mueller", "Muller", "Hans-Jörg Müller", "Müller, Hans Jörg", "müller's",
        "H. Müller", "Joerg", "hans_müller", "Müller^Hans-Jörg", "MüllerHans", "Mül\u00adler", "Mü\u200bller",
    ],
)  # fmt: skip
def test_names_go_in_every_order_and_spelling(written: str) -> None:
    cleaned = clean_text(f"Film of {written} shows an effusion.", known("Müller^Hans-Jörg^^Dr"))
    assert "ller" not in cleaned.lower()
    assert "rg " not in cleaned
    assert cleaned.endswith("shows an effusion.")


@pytest.mark.parametrize("written", ["O'Brien", "O’Brien", "O`Brien", "O Brien", "OBRIEN"])
def test_an_apostrophe_is_written_in_many_ways(written: str) -> None:
    assert clean_text(f"seen by {written}.", known("O'Brien^Pat")) == "seen by [NAME]."
    assert clean_text("vitamin D or calcium", known("D'Or^Pat")) == "vitamin D or calcium"


def test_decomposed_accents_are_the_same_name() -> None:
    assert clean_text("Mu\u0308ller", known("Müller^A")) == "[NAME]"


def test_short_names_go_only_beside_their_own_kind() -> None:
    li = known("Li^Wei")
    assert clean_text("Li Wei, seen with Mr. Li", li) == "[NAME], seen with Mr. [NAME]"
    assert clean_text("li-rads 3", li) == "li-rads 3"


def test_a_name_that_is_a_word_goes_only_when_written_as_one() -> None:
    young = known("Young^May")
    assert clean_text("a young patient may return", young) == "a young patient may return"
    assert clean_text("Seen by Young; YOUNG", young) == "Seen by [NAME]; [NAME]"


def test_names_without_spaces() -> None:
    assert clean_text("患者王小明の胸部", known("王^小明=Wang^Xiaoming")) == "患者[NAME]の胸部"


@pytest.mark.parametrize(
    "written", ["PAT-00123456", "pat00123456", "PAT 00123456", "00123456", "123456", "123 456", "00-123-456"]
)
def test_numbers_go_with_and_without_separators(written: str) -> None:
    assert clean_text(f"id {written}, film 2", known(numbers="PAT-00123456")) == "id [ID], film 2"


def test_short_numbers_go_only_when_announced() -> None:
    assert clean_text("MRN: 77, a 77 mm mass, #77", known(numbers="77")) == "MRN: [ID], a 77 mm mass, #[ID]"


DAY = date(1954, 3, 2)


@pytest.mark.parametrize(
    "written",
    [
        "19540302", "1954-03-02", "1954/3/2", "02.03.1954", "2.3.54", "3/2/1954", "03/02/54", "2 March 1954",
        "March 2nd, 1954", "2. März 1954", "2 mars 1954", "2 de marzo de 1954", "2-Mar-1954", "2 maart 1954",
        "2 3 1954", "1954 03 02",
    ],
)  # fmt: skip
def test_the_headers_dates_go_in_common_notations(written: str) -> None:
    assert clean_text(f"born {written}.", known(dates="1954-03-02")) == "born [DATE]."


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("write to a.b@c-d.org or call +49 30 1234567", "write to [CONTACT] or [CONTACT]"),
        ("by Dr. van Houten and Prof. Dr. med. A. Weiß", "by Dr. [NAME] and Prof. Dr. med. [NAME]"),
        ("MRN 123-45-678", "MRN [ID]"),
        ("see 1.2.826.0.1.3680043.8.498", "see [ID]"),
        ("compared with 12.05.2019", "compared with [DATE]"),
        ("acquired 2019-05-12T14:30", "acquired [DATE]T14:30"),
        ("by Dr.Weiß", "by Dr.[NAME]"),
    ],
)  # fmt: skip
def test_what_is_identifying_by_its_form_goes_unknown(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "12 x 8 mm nodule, 3/4 of the lobe, L4/5, T2-FLAIR, TI-RADS 4, BI-RADS 4a.",
        "SUVmax 12.5, 1.25 mm slices, 120 kV, 350 mAs, Th12, C5/6, 05/10 pain, 1/2019",
        "Heart and lungs are normal. No acute osseous abnormality.",
    ],
)
def test_findings_stay(text: str) -> None:
    assert clean_text(text, known("Doe^John", "MRN4711", "1954-03-02")) == text


LETTERS = st.characters(whitelist_categories=("Lu", "Ll"), max_codepoint=0x24F)
NAMES = st.text(LETTERS, min_size=2, max_size=12).map(lambda name: f"Zq{name}")  # no word of a report


@given(NAMES, NAMES, st.text(max_size=40), st.text(max_size=40))
def test_a_name_never_survives_as_a_word(family: str, given_name: str, before: str, after: str) -> None:
    text = f"{before} {given_name} {family} {after}"
    cleaned = clean_text(text, known(f"{family}^{given_name}"))
    words = fold(cleaned).replace("[name]", " ")
    for name in (family, given_name):
        if fold(name) not in fold(f"{before} {after}"):
            assert f" {fold(name)} " not in f" {words} "


@given(st.text(max_size=300))
def test_any_text_can_be_cleaned(text: str) -> None:
    once = clean_text(text, known("Doe^John|王^小明", "A-12 34|(*[", "1954-03-02", "St. (Mary)"))
    assert clean_text(once, known("Doe^John|王^小明")) is not None


DATES = st.dates(date(1900, 1, 1), date(2100, 1, 1))


@given(DATES, DATES, st.integers(1, 3650))
def test_shifted_dates_keep_order_and_distance(one: date, other: date, days: int) -> None:
    moved = [parsed(shifted(f"{day:%Y%m%d}", days) or "") for day in (one, other)]
    assert moved[0] is not None
    assert moved[1] is not None
    assert moved[1] - moved[0] == other - one
    assert moved[0] == one - timedelta(days=days)
    assert shifted(one.isoformat(), days) == moved[0].isoformat()
    assert shifted_datetime(f"{one:%Y%m%d}121314.5+0200", days) == f"{moved[0]:%Y%m%d}121314.5+0200"


@pytest.mark.parametrize("text", ["", "2019", "20191301", "soon", "19470230", "\x00"])
def test_what_is_no_date_is_not_shifted(text: str) -> None:
    assert shifted(text, 10) is None
    assert shifted_datetime(text, 10) is None
