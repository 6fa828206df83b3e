"""Keep model libraries off the network and out of the log while they load local files."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def offline() -> Iterator[None]:
    """Hugging Face libraries find local and cached files only; open_clip's own logging stays unprinted.

    The environment and the library's switch are as before afterwards.
    """
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")  # it reads the variable when first imported
    switch = getattr(constants, "HF_HUB_OFFLINE", None)
    if constants is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)  # open_clip logs on the root, which would otherwise start printing
    try:
        yield
    finally:
        root.removeHandler(handler)
        if before is None:
            os.environ.pop("HF_HUB_OFFLINE", None)
        else:
            os.environ["HF_HUB_OFFLINE"] = before
        constants = sys.modules.get("huggingface_hub.constants")
        if constants is not None:
            was = before not in (None, "", "0") if switch is None else switch
            constants.HF_HUB_OFFLINE = was  # type: ignore[attr-defined]
