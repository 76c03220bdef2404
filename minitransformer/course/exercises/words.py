"""Exercises about words that go in and come out, and about whole models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from minitransformer.course import solutions
from minitransformer.course.exercises.base import Exercise, InModel, Part, checkpoint, ids, tokenizer, traced
from minitransformer.hub import EMBEDDED
from minitransformer.parity.comparison import compare
from minitransformer.parity.dumps import read_dump
from minitransformer.parity.findings import Comparison

# ---------------------------------------------------------------------------------------------------------- 0 words


@lru_cache(maxsize=1)
def _masked() -> tuple[Tensor, int]:
    text = ids("bert-books", "She opened the [MASK] and went out.")
    with torch.no_grad():
        logits = checkpoint("bert-books")(input_ids=text).logits[0]
    return logits, text[0].tolist().index(tokenizer("bert-books").mask_token_id)


def _run_guesses(part: Part) -> dict[str, Any]:
    probabilities, found = part(*_masked(), 5)
    return {"the probabilities": probabilities, "the words": found}


def _guessed(logits: Tensor, place: int, k: int, way: str) -> tuple[Tensor, Tensor]:
    if way == "places":
        scores = logits.softmax(0)[place]
    elif way == "raw":
        scores = logits[place]
    elif way == "first":
        scores = logits[0].softmax(-1)
    elif way == "sigmoid":
        scores = logits[place].sigmoid()
    else:
        scores = logits[place].softmax(-1)
    best = scores.topk(k, largest=way != "least")
    return (logits[place].topk(k).values.softmax(-1) if way == "late" else best.values), best.indices


GUESSES = Exercise(
    "guesses",
    0,
    _run_guesses,
    solutions.guesses,
    {
        "the softmax runs over places, not over the vocabulary": partial(_guessed, way="places"),
        "the softmax is missing: logits are no probabilities": partial(_guessed, way="raw"),
        "it reads the first place, not that of [MASK]": partial(_guessed, way="first"),
        "the softmax sees the k best words only: it must see all": partial(_guessed, way="late"),
        "the k least likely words are taken": partial(_guessed, way="least"),
        "a logistic function stands in the softmax's place": partial(_guessed, way="sigmoid"),
    },
)


# --------------------------------------------------------------------------------------------------- 14 pretraining


def _run_corrupt(part: Part) -> dict[str, Tensor]:
    text = ids("bert-books", "the old man sat down by the fire and told us a story", target=False)[0, 1:-1].tolist()
    source, target = part(text, [(1, 3), (6, 8), (10, 11)], [9000, 9001, 9002, 9003, 9004])
    return {"the source": torch.tensor(source), "the target": torch.tensor(target)}


def _corrupted(
    ids: Sequence[int], spans: Sequence[tuple[int, int]], sentinels: Sequence[int], way: str
) -> tuple[list[int], list[int]]:
    source: list[int] = []
    target: list[int] = []
    place = 0
    for i, (first, end) in enumerate(spans):
        sentinel = sentinels[0 if way == "same" else i]
        source += [*ids[place:first], *([sentinel] * (end - first if way == "each" else 1))]
        target += ids[first:end] if way == "bare" else [sentinel, *ids[first:end]]
        if way == "behind":
            target = target[: -(end - first + 1)] + [*ids[first:end], sentinel]
        place = end + (1 if way == "inclusive" else 0)
    return source + list(ids[place:]), target if way == "open" else [*target, sentinels[len(spans)]]


CORRUPT = Exercise(
    "corrupt",
    14,
    _run_corrupt,
    solutions.corrupt,
    {
        "the target does not end with one more sentinel": partial(_corrupted, way="open"),
        "all spans have the same sentinel: each needs its own": partial(_corrupted, way="same"),
        "each hidden token has a sentinel: a whole span has one": partial(_corrupted, way="each"),
        "the target's spans have no sentinels before them": partial(_corrupted, way="bare"),
        "sentinels stand behind the spans in the target, not before": partial(_corrupted, way="behind"),
        "the source loses the word behind each span": partial(_corrupted, way="inclusive"),
    },
)


# --------------------------------------------------------------------------------------------------------- 15 top-p


@lru_cache(maxsize=1)
def _next() -> Tensor:
    with torch.no_grad():
        return checkpoint("gpt2-stories")(input_ids=ids("gpt2-stories", "The old man sat")).logits[0, -1]


def _kept(logits: Tensor, p: float, way: str) -> Tensor:
    ordered, order = logits.softmax(-1).sort(descending=way != "ascending")
    total = ordered.cumsum(-1)
    dropped = total > p if way == "short" else total - ordered >= p
    if way == "unsorted":
        return logits.masked_fill(dropped, -math.inf)
    if way == "threshold":
        return logits.masked_fill(logits.softmax(-1) < p, -math.inf)
    if way == "zero":
        return logits.index_fill(-1, order[dropped], 0.0)
    result = logits.index_fill(-1, order[dropped], -math.inf)
    return result.softmax(-1) if way == "probabilities" else result


TOP_P = Exercise(
    "top_p",
    15,
    lambda part: {"the logits for p = 0.9": part(_next(), 0.9), "the logits for p = 0.2": part(_next(), 0.2)},
    solutions.top_p,
    {
        "the word with which p is reached is dropped, too: it must stay": partial(_kept, way="short"),
        "the mask is in the order of sorted words: bring it back to the vocabulary's": partial(_kept, way="unsorted"),
        "the least likely words are kept": partial(_kept, way="ascending"),
        "words of less than probability p are dropped: p is what the words have together": partial(
            _kept, way="threshold"
        ),
        "logits of dropped words are 0, which is no low number: they must be minus infinity": partial(
            _kept, way="zero"
        ),
        "probabilities come back, not logits": partial(_kept, way="probabilities"),
    },
)


# ---------------------------------------------------------------------------------------------------------- 16 bias


@lru_cache(maxsize=1)
def _people() -> tuple[Tensor, Tensor, list[int]]:
    model, words = checkpoint("bert-books"), tokenizer("bert-books")
    found: dict[str, list[Tensor]] = {"man": [], "woman": []}
    for name, logits in found.items():
        for template in ("The {} is a [MASK].", "This {} was my [MASK].", "That old {} had a [MASK]."):
            text = ids("bert-books", template.format(name))
            place = text[0].tolist().index(words.mask_token_id)
            with torch.no_grad():
                logits.append(model(input_ids=text).logits[0, place])
    chosen = words.convert_tokens_to_ids(["king", "wife", "child", "father"])
    return torch.stack(found["man"]), torch.stack(found["woman"]), chosen


def _odds(one: Tensor, other: Tensor, words: Sequence[int], way: str) -> Tensor:
    if way == "logits":
        return (one - other)[:, words].mean(0)
    if way == "chosen":
        return (one[:, words].log_softmax(-1) - other[:, words].log_softmax(-1)).mean(0)
    if way == "ratio":
        return (one.softmax(-1) / other.softmax(-1))[:, words].mean(0)
    if way == "difference":
        return (one.softmax(-1) - other.softmax(-1))[:, words].mean(0)
    if way == "pooled":
        return one.softmax(-1)[:, words].mean(0).log() - other.softmax(-1)[:, words].mean(0).log()
    if way == "templates":
        return (one.log_softmax(0) - other.log_softmax(0))[:, words].mean(0)
    return solutions.log_odds(other, one, words)


LOG_ODDS = Exercise(
    "log_odds",
    16,
    lambda part: {"the log-odds of each word": part(*_people())},
    solutions.log_odds,
    {
        "logits are subtracted without the softmax's normaliser": partial(_odds, way="logits"),
        "the softmax sees the chosen words only: it must see the vocabulary": partial(_odds, way="chosen"),
        "the logarithm is missing: a ratio is not symmetric": partial(_odds, way="ratio"),
        "probabilities are subtracted, not their logarithms": partial(_odds, way="difference"),
        "templates are averaged before the logarithm": partial(_odds, way="pooled"),
        "the softmax runs over templates, not over the vocabulary": partial(_odds, way="templates"),
        "the sign is turned: the second name is divided by the first": partial(_odds, way="sign"),
    },
)


# ---------------------------------------------------------------------------------------------------------- 17 port


def _port_inputs() -> dict[str, Tensor]:
    return {"input_ids": ids("bert-books", "She opened the [MASK] and went out.")}


_PORT = InModel("bert-books", _port_inputs, lambda model, part: None)


@lru_cache(maxsize=1)
def _weights() -> dict[str, Any]:
    found = read_dump(EMBEDDED / "bert-books" / "model.safetensors")
    return {name.removeprefix("bert."): x.double().numpy() for name, x in found.items()}


def _run_port(part: Part) -> dict[str, Any]:
    given = part(_port_inputs()["input_ids"].numpy(), dict(_weights()), checkpoint("bert-books").config.num_heads)
    if not isinstance(given, Mapping) or not given:
        raise ValueError("it gives no dictionary of tensors: keep what each layer computes, by its name")
    return {name: torch.as_tensor(x) for name, x in given.items()}


def _compare_port(theirs: Mapping[str, Any]) -> Comparison:
    named = {f"bert.{name}": x for name, x in theirs.items()}
    places = {"attention.probs": "attn.pattern", "act": "ffn.hidden"}
    names = {
        f"bert.encoder.layer.{{i}}.{leaf}": f"backbone.encoder.blocks.{{i}}.{ours}"
        for leaf, ours in places.items()
        if any(name.endswith(leaf) for name in named)
    }
    return compare(traced(_PORT), named, checkpoint("bert-books"), names=names)


PORT = Exercise("bert", 17, _run_port, solutions.bert, {}, _compare_port)

ALL = (GUESSES, CORRUPT, TOP_P, LOG_ODDS, PORT)
