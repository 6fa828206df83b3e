"""The evaluation of a head as one page and as Markdown: both are made of the same chapters."""

from __future__ import annotations

from embedstore.engine.evaluation_records import EvaluationDocument
from embedstore.pages.evaluation_chapters import chapters, facts_of
from embedstore.pages.markdown import markdown
from embedstore.pages.records import StoryRecord
from embedstore.pages.story import story_page

_GLOSSARY = (
    ("interval", "95 %, over patients: images of one patient are not independent and are drawn together."),
    ("external", "no site of the test images is among the sites of the training images."),
    (
        "out of fold",
        "told of each training patient by a refit that did not see this patient.",
    ),
    ("unsealed", "each evaluation on held-out images; many looks let choices lean on them."),
    (
        "smallest detectable difference",
        "the true difference that so many patients show with a chance of 80 % in a two-sided test.",
    ),
    ("leans", "among images of the same truth the score tells the attribute: its interval excludes 0.5."),
)


def evaluation_page(document: EvaluationDocument) -> str:
    """One self-contained HTML page: no script, nothing fetched, every text escaped."""
    return story_page(_story(document))


def evaluation_markdown(document: EvaluationDocument) -> str:
    """The same in Markdown, without the pictures."""
    return markdown(_story(document))


def _story(document: EvaluationDocument) -> StoryRecord:
    trained = document.trained
    return StoryRecord(
        title=f"Evaluation of head {document.head}",
        subtitle=(
            f"{trained['target']} ({', '.join(document.classes)}) from the vectors of {trained['encoder']}, "
            "on patients it was not fitted on."
        ),
        banner=_banner(document),
        facts=facts_of(document),
        sections=chapters(document),
        glossary=_GLOSSARY,
        made="Made by embedstore from one record, as its JSON is. For research; not for diagnosis.",
    )


def _banner(document: EvaluationDocument) -> str:
    said = []
    if not document.disjointness["patient_disjoint"]:
        said.append(f"Not known to be patient-disjoint: {document.disjointness['note']}.")
    if document.trained["labels_from"] == "fused weak labels":
        said.append("Judged by fused weak labels, which are no gold.")
    if document.unsealed["times"] > 1:
        said.append(f"These test images were looked at {document.unsealed['times']} times.")
    return " ".join(said)
