"""The frame of a tokenizer: which special tokens stand around the ids of a text, or of a pair of texts.

A backend frames what it has encoded itself; here its frame is read off an example, so that ids from anywhere can be
framed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import tokenizers

from minitransformer.errors import TokenizerError


class Part(NamedTuple):
    """A special token, or the place of a text.

    Attributes:
        text: 0 for the first text, 1 for the second, None for a special token.
        token_id: that special token.
        type_id: the token type.
    """

    text: int | None
    token_id: int
    type_id: int


def find_frame(backend: tokenizers.Tokenizer, pair: bool) -> list[Part]:
    """The parts of a text, or a pair of texts, in their order; nobody else may use the backend meanwhile."""
    backend.no_truncation()
    backend.no_padding()
    word = _known_word(backend)
    framed = backend.encode([word], [word] if pair else None, is_pretokenized=True)
    parts: list[Part] = []
    for text, token_id, type_id in zip(framed.sequence_ids, framed.ids, framed.type_ids, strict=True):
        if text is None or not parts or parts[-1].text != text:
            parts.append(Part(text, token_id, type_id))
    return parts


def _known_word(backend: tokenizers.Tokenizer) -> str:
    for word in chain("a", backend.get_vocab()):
        if len(backend.encode([word], is_pretokenized=True, add_special_tokens=False)):
            return word
    raise TokenizerError("the vocabulary has no tokens")


def fill(frame: Sequence[Part], texts: Sequence[Sequence[int]]) -> list[tuple[int, Part]]:
    """Every id of framed texts, and the part of the frame that it belongs to."""
    return [
        (token_id, part) for part in frame for token_id in ([part.token_id] if part.text is None else texts[part.text])
    ]
