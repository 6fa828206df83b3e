"""Report rules on sentences in the manner of NegEx's and ConText's examples, and on real reports."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from embedstore.contracts.labels import LabelBatch, LabelingFunction
from embedstore.errors import BadInputFile, UsageError
from embedstore.learning.lexicon import chest_lexicon, parse_lexicon
from embedstore.learning.report_text import sentences
from embedstore.learning.rules import RuleVoter, read_report

LEXICON = chest_lexicon()
PRESENT, ABSENT, UNCERTAIN, UNSAID = "present", "absent", "uncertain", "not mentioned"

SENTENCES = [
    # negation before, with lists
    ("No pleural effusion or pneumothorax.", {"effusion": ABSENT, "pneumothorax": ABSENT}),
    ("There is neither effusion nor pneumothorax.", {"effusion": ABSENT, "pneumothorax": ABSENT}),
    (
        "Lungs are free of consolidation, effusion, or pneumothorax.",
        {"consolidation": ABSENT, "effusion": ABSENT},
    ),
    ("No evidence for pleural effusion.", {"effusion": ABSENT}),
    ("NO PNEUMOTHORAX IS SEEN", {"pneumothorax": ABSENT}),
    ("There is no\npleural effusion.", {"effusion": ABSENT}),
    ("No overt pulmonary edema.", {"edema": ABSENT}),
    ("No nodule measuring over 2.5 cm or effusion.", {"nodule": ABSENT, "effusion": ABSENT}),
    # negation after
    ("Pleural effusion is not seen.", {"effusion": ABSENT}),
    ("Pneumothorax was ruled out.", {"pneumothorax": ABSENT}),
    ("Pneumothorax absent.", {"pneumothorax": ABSENT}),
    ("The previously noted pneumothorax is no longer seen.", {"pneumothorax": ABSENT}),
    ("Previously seen right pleural effusion has resolved.", {"effusion": ABSENT}),
    ("Pleural effusion is unlikely.", {"effusion": ABSENT}),
    ("Effusion: none. Pneumothorax: small left.", {"effusion": ABSENT, "pneumothorax": PRESENT}),
    # scope ends
    (
        "No pneumothorax but there is a small right pleural effusion.",
        {"pneumothorax": ABSENT, "effusion": PRESENT},
    ),
    ("No pneumothorax. Small left effusion.", {"pneumothorax": ABSENT, "effusion": PRESENT}),
    ("Lungs clear without effusion; moderate cardiomegaly.", {"effusion": ABSENT, "cardiomegaly": PRESENT}),
    (
        "No effusion or pneumothorax, although a nodule is present.",
        {"pneumothorax": ABSENT, "nodule": PRESENT},
    ),
    (
        "A nodule is not identified and there is a moderate left pleural effusion.",
        {"nodule": ABSENT, "effusion": PRESENT},
    ),
    ("Patient denies cough. Effusion present.", {"effusion": PRESENT}),
    ("Aside from a small effusion, the chest is normal.", {"effusion": PRESENT}),
    ("1. Nodule in the left lung. 2. No effusion.", {"nodule": PRESENT, "effusion": ABSENT}),
    ("Findings:\nNo pneumothorax\nEffusion on the right", {"pneumothorax": ABSENT, "effusion": PRESENT}),
    # pseudo-negation
    ("No change in the large left pleural effusion.", {"effusion": PRESENT}),
    ("No significant interval change in bilateral pleural effusions.", {"effusion": PRESENT}),
    (
        "Not only a pleural effusion but also a pneumothorax is seen.",
        {"effusion": PRESENT, "pneumothorax": PRESENT},
    ),
    ("The right pleural effusion has not changed.", {"effusion": PRESENT}),
    # uncertainty, which outranks the negation inside it
    ("Pneumothorax cannot be excluded.", {"pneumothorax": UNCERTAIN}),
    ("A small effusion cannot be ruled out.", {"effusion": UNCERTAIN}),
    ("Opacity likely representing pneumonia.", {"opacity": PRESENT, "pneumonia": UNCERTAIN}),
    ("Findings are suspicious for pneumonia.", {"pneumonia": UNCERTAIN}),
    ("Bibasilar atelectasis versus infiltrate.", {"atelectasis": UNCERTAIN, "consolidation": UNCERTAIN}),
    ("? small effusion", {"effusion": UNCERTAIN}),
    ("No effusion, possible nodule at the left base.", {"effusion": ABSENT, "nodule": UNCERTAIN}),
    ("There is no focal opacity to suggest pneumonia.", {"opacity": ABSENT, "pneumonia": ABSENT}),
    # history and sections
    ("History of pneumonia.", {"pneumonia": "historical"}),
    ("INDICATION: pleural effusion. FINDINGS: The lungs are clear.", {"effusion": UNSAID, "opacity": ABSENT}),
    ("Indication: evaluate effusion\nFindings: No effusion", {"effusion": ABSENT}),
    ("INDICATION: Pain, COPD FINDINGS: Small effusion.", {"effusion": PRESENT, "other": UNSAID}),
    # statements without a cue
    ("The heart is not enlarged.", {"cardiomegaly": ABSENT}),
    ("Heart size is normal.", {"cardiomegaly": ABSENT}),
    ("The heart, aorta and hila are within normal limits.", {"cardiomegaly": ABSENT}),
    ("The heart is mildly enlarged.", {"cardiomegaly": PRESENT}),
    ("Stable cardiomegaly.", {"cardiomegaly": PRESENT}),
    ("Heart size at the upper limits of normal.", {"cardiomegaly": UNCERTAIN}),
    ("Heart size is not normal.", {"cardiomegaly": UNCERTAIN}),
    ("The heart is normal in size and the aorta is enlarged.", {"cardiomegaly": ABSENT}),
    ("The osseous structures are intact.", {"fracture": ABSENT}),
    ("Old healed rib fractures on the left.", {"fracture": PRESENT}),
    ("Mild pulmonary vascular congestion.", {"edema": PRESENT}),
    ("There is a 12 mm nodule in the right upper lobe.", {"nodule": PRESENT}),
    ("Small pericardial effusion.", {"effusion": UNSAID}),
    # findings made of others
    ("Right lower lobe consolidation.", {"consolidation": PRESENT, "opacity": PRESENT}),
    ("Normal chest radiograph.", {"normal": PRESENT}),
    ("No acute cardiopulmonary abnormality.", {"normal": PRESENT}),
    (
        "No acute cardiopulmonary abnormality. Stable cardiomegaly.",
        {"normal": ABSENT, "cardiomegaly": PRESENT},
    ),
    ("", {"effusion": UNSAID, "normal": UNSAID}),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES, ids=[text[:40] for text, _ in SENTENCES])
def test_sentences(text, expected):
    outcomes = read_report(LEXICON, text).outcomes
    assert {finding: outcomes[finding] for finding in expected} == expected


def test_a_statement_anywhere_outweighs_a_denial_elsewhere():
    text = "No large effusion. Tiny right effusion, possible left effusion."
    assert read_report(LEXICON, text).outcomes["effusion"] == PRESENT
    assert (
        read_report(LEXICON, "No large effusion. Possible tiny effusion.").outcomes["effusion"] == UNCERTAIN
    )


def test_a_mention_points_at_its_words_and_its_cue():
    text = "İ FINDINGS: There is no definite Pleural Effusion."  # the first letter grows in lower case
    mention = next(m for m in read_report(LEXICON, text).mentions if m.finding == "effusion")
    assert text[mention.start : mention.end] == "Effusion"
    assert mention.cue == "no definite"


def test_a_text_without_any_full_stop_is_read():
    """Its cost must not grow with the cube of its length: this one would take a day."""
    outcomes = read_report(LEXICON, "no effusion, " * 5000 + "seen").outcomes
    assert outcomes["effusion"] == ABSENT
    assert outcomes["pneumothorax"] == "not mentioned"


def test_decimals_do_not_end_a_sentence():
    found = list(sentences("A 2.5 cm nodule. No effusion.", (), ()))
    assert [" ".join(sentence.words) for sentence in found] == ["a 2.5 cm nodule", "no effusion"]


def test_the_voter_votes_and_abstains():
    voter = RuleVoter(lexicon=LEXICON, finding="effusion")
    texts = ["Small effusion.", "No effusion.", "Possible effusion.", "Clear lungs.", ""]
    batch = LabelBatch(item_ids=np.arange(5), texts=texts, columns=[{}] * 5)
    assert isinstance(voter, LabelingFunction)
    assert voter(batch).tolist() == [1, 0, -1, -1, -1]
    assert voter.label_set.classes == ("absent", "present")
    assert voter.version == LEXICON.version
    with pytest.raises(UsageError, match="has no finding 'gout'; it has: effusion"):
        RuleVoter(lexicon=LEXICON, finding="gout")


def _lexicon(**changes):
    return {"cues": {"negation_before": ["no"]}, "findings": {"gout": {"phrases": ["gout*"]}}, **changes}


def test_a_lexicon_of_ones_own_and_a_version_that_follows_its_content():
    lexicon = parse_lexicon(_lexicon(), "own.yaml")
    assert lexicon.findings == ("gout",)
    assert read_report(lexicon, "No gouty tophi.").outcomes == {"gout": ABSENT}
    other = parse_lexicon(_lexicon(findings={"gout": {"phrases": ["gouty"]}}), "own.yaml")
    assert other.version != lexicon.version


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cues": None}, "'cues': expected keys and values"),
        ({"cues": {"negation": ["no"]}}, "unknown key 'negation'"),
        ({"cues": {"negation_before": [False]}}, "False is not a text; put quotes around it"),
        ({"findings": {}}, "'findings': expected keys"),
        ({"findings": {"gout": {"unless": []}}}, "finding 'gout': needs 'phrases'"),
        ({"findings": {"gout": {"phrases": ["(a|b)+"]}}}, "not a phrase of words"),
        ({"findings": {"gout": {"phrases": ["... gout"]}}}, "must begin and end with a word"),
        ({"findings": {"gout": {"phrases": ["g*"]}}}, "has 3 letters"),
        (
            {"findings": {"gout": {"phrases": ["gout"], "unless": ["ghost"]}}},
            "'ghost' is not another finding",
        ),
        ({"finding": {}}, "unknown key 'finding'"),
    ],
)
def test_bad_lexicons_name_file_and_key(changes, message):
    with pytest.raises(BadInputFile, match=r"own\.yaml") as caught:
        parse_lexicon(_lexicon(**changes), "own.yaml")
    assert message in str(caught.value)


# The MeSH headings of the Open-i collection that mean what the lexicon's finding means.
MESH = {
    "effusion": ("pleural effusion",),
    "pneumothorax": ("pneumothorax", "hydropneumothorax"),
    "nodule": ("nodule", "mass", "density/thorax/round", "density/lung/upper lobe/right/round"),
    "cardiomegaly": ("cardiomegaly", "cardiac shadow/enlarged"),
    "consolidation": ("consolidation", "airspace disease", "infiltrate"),
    "pneumonia": ("pneumonia",),
    "opacity": ("opacity", "consolidation", "airspace disease", "infiltrate", "pneumonia"),
    "atelectasis": ("pulmonary atelectasis",),
    "edema": ("pulmonary edema", "pulmonary congestion"),
    "fracture": ("fractures, bone",),
    "normal": ("normal",),
}


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("finding", "least"), [(name, 0.97) for name in MESH if name != "normal"] + [("normal", 0.93)]
)
def test_real_reports_agree_with_their_mesh_headings(shared_data, finding, least):
    right = decided = missed = positives = 0
    with (shared_data / "MANIFEST.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if not row["path"].startswith("reports_openi"):
                continue
            headings = [heading.lower() for heading in json.loads(row["extra"])["mesh_major"]]
            truth = any(heading.startswith(MESH[finding]) for heading in headings)
            outcome = read_report(LEXICON, row["report_text"]).outcomes[finding]
            positives += truth
            if outcome != UNCERTAIN:
                decided += 1
                right += (outcome == PRESENT) == truth
                missed += truth and outcome != PRESENT
    assert decided >= 280
    assert right / decided >= least
    assert missed <= 0.25 * positives
