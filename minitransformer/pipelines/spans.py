"""Stretches of tokens that may be an answer: their probabilities, and where they stand in the text."""

from __future__ import annotations

from typing import Any

import numpy as np


def masked_softmax(logits: np.ndarray[Any, Any], allowed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Probabilities of the allowed places; those of the others are 0."""
    logits = np.where(allowed, logits, -10000.0)
    probabilities = np.exp(logits - logits.max())
    return np.asarray(probabilities / probabilities.sum())


def best_spans(
    start: np.ndarray[Any, Any], end: np.ndarray[Any, Any], count: int, max_length: int
) -> list[tuple[int, int, float]]:
    """The likeliest spans of at most ``max_length`` tokens: (first, last, probability), best first."""
    scores = np.tril(np.triu(np.outer(start, end)), max_length - 1).ravel()  # first <= last < first + max_length
    if count < len(scores):
        best = np.argpartition(-scores, count)[:count]
        best = best[np.argsort(-scores[best])]
    else:
        best = np.argsort(-scores)
    return [(int(i) // len(end), int(i) % len(end), float(scores[i])) for i in best]


def find_characters(encoding: Any, first: int, last: int, sequence: int | None) -> tuple[int, int]:
    """Where a span of tokens begins and stops in the text it comes from.

    Args:
        encoding: the tokens.
        first: the first of them.
        last: the last of them.
        sequence: the number of the text (of two) in which to widen the span to whole words; None leaves it as
            it is.
    """
    words = [encoding.token_to_word(token) for token in (first, last)]
    if sequence is not None and None not in words:  # some tokenizers know no words
        spans = [encoding.word_to_chars(word, sequence) for word in words]
        if None not in spans:
            return spans[0][0], spans[1][1]
    return encoding.offsets[first][0], encoding.offsets[last][1]
