"""embedstore: foundation-model embedding and retrieval for medical images.

Importing this package costs nothing: the store and everything heavy behind it are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstore.engine.store import Store

__all__ = ["Store", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Store":
        from embedstore.engine.store import Store

        return Store
    raise AttributeError(f"module 'embedstore' has no attribute {name!r}")
