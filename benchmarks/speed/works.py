"""What is computed. A work is a plain dictionary, so that it can be sent to a process of any environment.

kind "generate": ``rows`` prompts of ``prompt`` random tokens, ``new`` tokens more, greedy or with ``beams``
kind "context":  the same for one prompt; answers with the seconds of each token
kind "uncached": the next token of such a prompt, from all of it
kind "encode":   ``rows`` of ``length`` random tokens
kind "features", "zero-shot": ``texts`` of ``shortest`` to ``longest`` words; ``labels``, ``batch``
kind "read":     ``bytes`` of float32, once
"""

from __future__ import annotations

from typing import Any

Work = dict[str, Any]

WORDS = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work government number night point home water room mother "
    "area money story fact month lot right study book eye job word business issue side kind head house service friend "
    "father power hour game line end member law car city community name president team minute idea body information "
    "back parent face level office door health person art war history party result change morning reason research girl"
).split()
"""Nouns that are one token each for the tokenizer of MiniLM."""

LABELS = ("politics", "sport", "science", "music", "travel", "food", "money", "health", "weather", "art")


def token_ids(work: Work) -> list[list[int]]:
    """Random tokens of a work, (rows, length); never one of the first few, which are special in most vocabularies."""
    import numpy

    shape = (work["rows"], work["prompt"] if "prompt" in work else work["length"])
    ids: list[list[int]] = numpy.random.default_rng(0).integers(5, work["vocabulary"] - 5, shape).tolist()
    return ids


def texts(work: Work) -> list[str]:
    """Texts of random words. Lengths are log-uniform, as most texts of a collection are short and a few are long."""
    import numpy

    random = numpy.random.default_rng(0)
    low, high = numpy.log([work["shortest"], work["longest"] + 1])
    lengths = numpy.exp(random.uniform(low, high, work["texts"])).astype(int)
    return [" ".join(random.choice(WORDS, n)) for n in lengths]


def labels(work: Work) -> list[str]:
    """The candidate labels of a zero-shot classification."""
    return list(LABELS[: work["labels"]])
