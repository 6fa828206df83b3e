"""The commands by name, with the line that `--help` shows, so that no command's module is imported for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that has not been imported. target: `module:attribute` below `embedstore.cli`."""

    target: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "demo": Entry("demo:demo", "The whole story on images that need no download."),
    "init": Entry("init:init", "Create a store."),
    "encoders": Entry("encoders:encoders", "List encoders, show one, look for their weights."),
    "inspect": Entry("inspect:inspect", "Show what a file is, what would be embedded, how it looks."),
    "embed": Entry("embed:embed", "Turn images into vectors, without a store."),
    "ingest": Entry("ingest:ingest", "Put images and reports into the store."),
    "search": Entry("search:search", "Find similar cases by image, text or stored item."),
    "bridge": Entry("bridge:bridge", "Join an image space and a text space."),
    "zeroshot": Entry("zeroshot:zeroshot", "Label images by prompts, without training."),
    "label": Entry("label:label", "Weak labels: vote, fuse, report, export."),
    "head": Entry("head:head", "Linear heads: fit, evaluate, compare, apply."),
    "compare": Entry("compare:compare", "Rank encoders on your own images."),
    "drift": Entry("drift:drift", "Tell whether new images differ from those of a model."),
    "privacy": Entry("privacy:privacy", "Keys and pseudonyms of de-identified stores."),
    "plugin": Entry("plugin:plugin", "Write a plugin around a model of your own."),
    "status": Entry("status:status", "What is in the store, and what could not be read."),
    "verify": Entry("maintain:verify", "Check every checksum of the store."),
    "reindex": Entry("maintain:reindex", "Rebuild the indexes from the stored vectors."),
    "migrate": Entry("maintain:migrate", "Bring an older store to this version's schema."),
}
