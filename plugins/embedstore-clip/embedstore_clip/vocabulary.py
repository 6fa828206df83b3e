"""Whether a tokenizer is the one a model was trained with, as far as its size tells."""

from __future__ import annotations

from embedstore.errors import Refused

_FEWEST = 0.9  # of the rows: some models round their table up to a multiple of 64


def check_vocabulary(tokens: int, rows: int, where: str) -> None:
    """tokens: of the tokenizer. rows: of the text tower's table. Raises Refused when they do not go together.

    transformers makes up a tokenizer of a handful of tokens when its files are not in the folder.
    """
    if rows and not _FEWEST * rows <= tokens <= rows:
        raise Refused(
            f"{where} has no fitting tokenizer: it knows {tokens} tokens and the text tower {rows}; "
            "fetch tokenizer.json, tokenizer_config.json and the vocabulary of the same repository"
        )
