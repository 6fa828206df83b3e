"""A page in chapters: the demo's, the evaluation of a head."""

from __future__ import annotations

from embedstore.pages.records import StoryRecord
from embedstore.pages.render import render


def story_page(story: StoryRecord) -> str:
    """One self-contained HTML page: no script, nothing fetched, every text escaped."""
    return render("story.html", story=story)
