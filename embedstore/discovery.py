"""Plugins by entry point: listed without import, loaded on demand, refused when two claim one name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from embedstore.errors import DuplicatePlugin, UnknownPlugin, did_you_mean

READERS = "embedstore.readers"
ENCODERS = "embedstore.encoders"
INDEXES = "embedstore.indexes"
EXECUTORS = "embedstore.executors"
LABELERS = "embedstore.labeling"

_NOUN = {
    READERS: "reader",
    ENCODERS: "encoder",
    INDEXES: "index",
    EXECUTORS: "executor",
    LABELERS: "labelling function",
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin that has not been imported.

    name: the name users type. target: `module:attribute`. distribution: who ships it.
    """

    name: str
    group: str
    target: str
    distribution: str
    version: str

    def load(self) -> Any:
        """Import the plugin's module and return the attribute it points at."""
        return EntryPoint(self.name, self.target, self.group).load()


def list_plugins(group: str, found: Iterable[EntryPoint] | None = None) -> dict[str, Plugin]:
    """Installed plugins of one group by name, in alphabetical order; none is imported.

    Raises DuplicatePlugin when two distributions claim one name for different targets.
    """
    plugins: dict[str, Plugin] = {}
    for point in entry_points(group=group) if found is None else found:
        dist = point.dist
        plugin = Plugin(
            point.name, group, point.value, dist.name if dist else "?", dist.version if dist else "?"
        )
        other = plugins.setdefault(point.name, plugin)
        if other.target != plugin.target:
            raise DuplicatePlugin(
                f"two installed packages claim the {_NOUN.get(group, group)} '{point.name}': "
                f"{other.distribution} and {plugin.distribution}; uninstall one of them"
            )
    return dict(sorted(plugins.items()))


def find_plugin(group: str, name: str) -> Plugin:
    """The plugin that answers to `name`; `prefix:argument` finds the plugin called `prefix`.

    Raises UnknownPlugin with the nearest names.
    """
    plugins = list_plugins(group)
    plugin = plugins.get(name) or plugins.get(name.partition(":")[0])
    if plugin is None:
        noun = _NOUN.get(group, group)
        hint = did_you_mean(name, plugins)
        raise UnknownPlugin(f"no {noun} is called '{name}'; {hint}installed: {', '.join(plugins) or 'none'}")
    return plugin
