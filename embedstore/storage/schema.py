"""Schema revisions this program knows, oldest first. A test compares them with the migrations."""

from __future__ import annotations

REVISIONS: tuple[str, ...] = ("0001", "0002", "0003", "0004")
HEAD = REVISIONS[-1]
