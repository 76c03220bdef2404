"""Exact match and F1 of extracted answers, as the official script of SQuAD v1.1 counts them.

Source: Rajpurkar et al. 2016 (https://arxiv.org/abs/1606.05250, section 6.1) and the script ``evaluate-v1.1.py`` that
was published with it. Answers are compared without case, punctuation, articles and extra blanks.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

PUNCTUATION = str.maketrans("", "", string.punctuation)  # of ASCII only, as in the script


def normalise(answer: str) -> str:
    """Lower case, without ASCII punctuation, the articles a, an, the, and extra blanks (in this order)."""
    answer = answer.lower().translate(PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer).split())


def exact_match(prediction: str, answer: str) -> float:
    """1 if both are equal after `normalise`, else 0."""
    return float(normalise(prediction) == normalise(answer))


def f1(prediction: str, answer: str) -> float:
    """Harmonic mean of precision and recall of the words, each counted as often as it occurs."""
    predicted, wanted = normalise(prediction).split(), normalise(answer).split()
    common = sum((Counter(predicted) & Counter(wanted)).values())
    return 2 * common / (len(predicted) + len(wanted)) if common else 0.0


def score_answer(prediction: str, answers: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of one prediction, each against the reference answer that is nearest.

    A question without reference answers (SQuAD v2) is answered right by saying nothing.
    """
    if not answers:
        silent = float(not normalise(prediction))
        return silent, silent
    return max(exact_match(prediction, a) for a in answers), max(f1(prediction, a) for a in answers)
