"""ROUGE of a text against references: n-grams, and the longest common subsequence (Lin 2004, W04-1013).

Words are runs of letters a-z and digits, in lower case, and longer ones stemmed, as in the script ROUGE-1.5.5 with its
option ``-m``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

ROUGE = ("rouge1", "rouge2", "rougeL")

_WORD = re.compile("[a-z0-9]+")
_SHORT = 3  # letters; such words are not stemmed


def words_of(text: str, stem: Callable[[str], str]) -> list[str]:
    """The words that are compared."""
    return [stem(word) if len(word) > _SHORT else word for word in _WORD.findall(text.lower())]


def rouge(prediction: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """F of ROUGE-1, ROUGE-2 and ROUGE-L, from 0 to 1: each against the reference that it is nearest to.

    Args:
        prediction: words, see ``words_of``.
        references: words of each.
    """
    scores = []
    for reference in references:
        one, two = (overlap(prediction, reference, n) for n in (1, 2))
        common = f_measure(longest_common(prediction, reference), len(prediction), len(reference))
        scores.append((one, two, common))
    return {name: max(values) for name, values in zip(ROUGE, zip(*scores, strict=True), strict=True)}


def overlap(prediction: Sequence[Hashable], reference: Sequence[Hashable], n: int) -> float:
    """F over runs of n words, each counted as often as it occurs in both."""
    mine, theirs = (Counter(zip(*(words[i:] for i in range(n)), strict=False)) for words in (prediction, reference))
    return f_measure((mine & theirs).total(), mine.total(), theirs.total())


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest sequence of words that both have in this order, with others between."""
    lengths = [0] * (len(b) + 1)  # of the words of a so far and the first j of b
    for word in a:
        before = 0
        for j, other in enumerate(b, 1):
            lengths[j], before = before + 1 if word == other else max(lengths[j], lengths[j - 1]), lengths[j]
    return lengths[-1]


def f_measure(right: int, found: int, wanted: int) -> float:
    """The harmonic mean of precision and recall; 0 where nothing is right."""
    precision, recall = right / max(found, 1), right / max(wanted, 1)
    return 2 * precision * recall / (precision + recall) if right else 0.0
