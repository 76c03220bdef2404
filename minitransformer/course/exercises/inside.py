"""Exercises about what is inside: each part is a tool, used on a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from minitransformer import study
from minitransformer.course import solutions
from minitransformer.course.exercises.base import Exercise, Part, checkpoint, ids, tokenizer

# ----------------------------------------------------------------------------------------------------------- 4 heads

SENTENCE = "The old farmer never saw a big dog or the cat near this small river but a bird sang in every tree ."
DETERMINERS = [0, 5, 9, 12, 16, 20]
NOUNS = [2, 7, 10, 14, 17, 21]
"""Numbers of words: each determiner, and its noun."""


@lru_cache(maxsize=1)
def _patterns() -> Tensor:
    """Attention between words of one sentence by all heads of bert-books, (heads, word, word)."""
    encoding = tokenizer("bert-books")([SENTENCE.split()], is_split_into_words=True, return_tensors="pt")
    watched = study.run(checkpoint("bert-books"), dict(encoding), "*.attn.pattern")
    patterns = torch.cat([watched[name][0] for name in watched.calls])
    return study.to_words(patterns, encoding.word_ids(0))


def _run_follows(part: Part) -> dict[str, Tensor]:
    patterns = _patterns()
    selfish = (patterns + torch.eye(patterns.shape[-1])) / 2  # as if each word looked at itself, too
    return {
        "the share of each head": part(patterns, DETERMINERS, NOUNS),
        "the share of each head, were words to look at themselves, too": part(selfish, DETERMINERS, NOUNS),
    }


def _follow(patterns: Tensor, dependents: Sequence[int], governors: Sequence[int], way: str) -> Tensor:
    diagonal = torch.eye(patterns.shape[-1], dtype=torch.bool)
    clean, wanted = patterns.masked_fill(diagonal, 0.0), torch.tensor(governors)
    if way == "itself":
        return (patterns.argmax(-1)[:, dependents] == wanted).double().mean(-1)
    if way == "columns":
        return (clean.argmax(-2)[:, dependents] == wanted).double().mean(-1)
    if way == "weight":
        return clean[:, dependents, governors].mean(-1)
    return (clean.argmax(-1)[:, governors] == torch.tensor(dependents)).double().mean(-1)


FOLLOWS = Exercise(
    "follows",
    4,
    _run_follows,
    solutions.follows,
    {
        "the token itself is not left out": partial(_follow, way="itself"),
        "it reads columns: row i of a pattern is what word i looks at": partial(_follow, way="columns"),
        "it averages weights, where it should count how often the governor is looked at most": partial(
            _follow, way="weight"
        ),
        "it asks whether governors look at their dependents, not the other way": partial(_follow, way="back"),
    },
)


# ------------------------------------------------------------------------------------------------------- 8 pruning


def _pairs() -> tuple[dict[str, Tensor], Tensor]:
    model, french = (
        checkpoint("marian-fr-en"),
        ["Elle veut partir demain.", "Il travaille ici.", "Tom parle trop vite."],
    )
    english = ["She wants to leave tomorrow.", "He works here.", "Tom speaks too fast."]
    words = tokenizer("marian-fr-en")
    source = words(french, padding=True, return_tensors="pt")
    target = words(text_target=english, padding=True, return_tensors="pt")["input_ids"]
    labels = target.masked_fill(target == model.config.pad_token_id, -100)
    return {**source, "decoder_input_ids": model.shift_right(labels)}, labels


@lru_cache(maxsize=256)
def _loss(removed: frozenset[int]) -> float:
    """The loss of marian-fr-en without these of its 8 heads of cross-attention."""
    model = checkpoint("marian-fr-en")
    inputs, labels = _pairs()
    gone = [(f"decoder.blocks.{head // 4}.cross_attn", head % 4) for head in sorted(removed)]
    with study.ablate(model, gone) if gone else torch.no_grad(), torch.no_grad():
        logits = model(**inputs).logits
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))


BUDGET = 0.5


def _pruned(loss: Callable[[frozenset[int]], float], heads: Sequence[int], budget: float, way: str) -> list[int]:
    start, removed = loss(frozenset()), list[int]()
    alone = {head: loss(frozenset([head])) for head in heads}
    while len(removed) < len(heads):
        left = [head for head in heads if head not in removed]
        cost = {head: loss(frozenset([*removed, head])) for head in left}
        best = (max if way == "dearest" else min)(left, key=(alone if way == "once" else cost).__getitem__)
        if way != "over" and cost[best] - (0 if way == "absolute" else start) > budget:
            break
        removed.append(best)
        if way == "over" and cost[best] - start > budget:
            break
    return removed


def _run_pruning(part: Part) -> dict[str, Tensor]:
    def told(removed: frozenset[int]) -> float:
        """Heads 0 and 1 stand in for one another, so that single costs mislead."""
        return 2.0 + sum((0.1, 0.11, 0.15, 0.3, 1.0)[head] for head in removed) + 0.6 * ({0, 1} <= removed)

    return {
        "the heads that go": torch.tensor(part(_loss, list(range(8)), BUDGET), dtype=torch.float64),
        "the heads that go where two stand in for one another": torch.tensor(
            part(told, list(range(5)), 0.6), dtype=torch.float64
        ),
    }


PRUNING = Exercise(
    "greedy",
    8,
    _run_pruning,
    solutions.greedy,
    {
        "heads are ranked once: after each removal the others must be measured anew": partial(_pruned, way="once"),
        "the last head goes although the budget is exceeded with it": partial(_pruned, way="over"),
        "the dearest head goes first, not the cheapest": partial(_pruned, way="dearest"),
        "the loss itself is compared with the budget, not its rise": partial(_pruned, way="absolute"),
    },
)


# ------------------------------------------------------------------------------------------------------ 9 patching


@lru_cache(maxsize=1)
def _streams() -> tuple[Callable[[Tensor], float], Tensor, Tensor]:
    model, words = checkpoint("marian-fr-en"), tokenizer("marian-fr-en")
    she, he = (words(text_target=[word])["input_ids"][0][0] for word in ("She", "He"))
    start = torch.tensor([[model.config.decoder_start_token_id]])
    tap = "backbone.encoder.blocks.1.output"
    base, source = (
        study.run(model, {"input_ids": ids("marian-fr-en", text), "decoder_input_ids": start}, tap)[tap][0]
        for text in ("Il veut partir demain.", "Elle veut partir demain.")
    )
    inputs = {"input_ids": ids("marian-fr-en", "Il veut partir demain."), "decoder_input_ids": start}

    known: dict[bytes, float] = {}

    def answer(stream: Tensor) -> float:
        """By how much She is likelier than He, if the encoder's second block gave this stream."""
        key = stream.contiguous().numpy().tobytes()
        if key not in known:
            known[key] = measured(stream)
        return known[key]

    def measured(stream: Tensor) -> float:
        logits = study.run(model, inputs, edit={tap: lambda x: stream[None].to(x)}).output.logits
        return float(logits[0, 0, she] - logits[0, 0, he])

    return answer, base, source


def _effects(answer: Callable[[Tensor], float], base: Tensor, source: Tensor, way: str) -> Tensor:
    low, high = answer(base), answer(source)
    if way == "other way":
        base, source = source, base
    found, kept = [], base.clone()
    for position in range(len(base)):
        patched = base.clone()
        if way == "all but":
            patched = source.clone()
            patched[position] = base[position]
        elif way == "piling up":
            kept[position] = source[position]
            patched = kept
        else:
            patched[position] = source[position]
        m = answer(patched)
        found.append(m - low if way == "difference" else m / high if way == "share" else (m - low) / (high - low))
    return torch.tensor(found, dtype=torch.float64)


EFFECTS = Exercise(
    "effects",
    9,
    lambda part: {"the effect of each position": part(*_streams())},
    solutions.effects,
    {
        "the effect is not divided by (answer of the source - answer of the base)": partial(_effects, way="difference"),
        "the base's answer is not subtracted": partial(_effects, way="share"),
        "the base is put into the source, not the source into the base": partial(_effects, way="other way"),
        "all positions but one are patched": partial(_effects, way="all but"),
        "patches pile up: work on base.clone() for each position": partial(_effects, way="piling up"),
    },
)


# ---------------------------------------------------------------------------------------------------------- 10 lens


def _run_lens(part: Part) -> dict[str, Tensor]:
    model = checkpoint("gpt2-stories")
    inputs = {"input_ids": ids("gpt2-stories", "The old man sat down by the")}
    watched = study.run(model, inputs, "blocks.*.output")
    stream = torch.cat([watched[name] for name in watched.calls])
    norm, table = model.backbone.decoder.final_norm, model.backbone.embeddings.word.weight
    with torch.no_grad():
        return {"the logits of each layer": part(stream, norm, table)}


def _cached_scale(stream: Tensor, norm: Part, table: Tensor) -> Tensor:
    deviation = stream[-1].var(-1, unbiased=False, keepdim=True).add(norm.eps).sqrt()  # type: ignore[attr-defined]
    x = (stream - stream.mean(-1, keepdim=True)) / deviation
    return (x * norm.weight + norm.bias) @ table.T  # type: ignore[attr-defined]


LENS = Exercise(
    "logit_lens",
    10,
    _run_lens,
    solutions.logit_lens,
    {
        "the final norm is missing": lambda stream, norm, table: stream @ table.T,
        "the scale of the last layer's norm is used for all layers: each has its own": _cached_scale,
        "the norm is applied to the logits, not to the stream": lambda s, n, t: torch.nn.functional.layer_norm(
            s @ t.T, (len(t),)
        ),
        "a softmax is applied: logits are wanted": lambda s, n, t: (n(s) @ t.T).softmax(-1),
        "the norm is applied twice": lambda s, n, t: n(n(s)) @ t.T,
    },
)


# --------------------------------------------------------------------------------------------------- 11 attribution


def _run_gradients(part: Part) -> dict[str, Tensor]:
    model, words = checkpoint("bert-sentiment"), tokenizer("bert-sentiment")
    inputs = {"input_ids": ids("bert-sentiment", "I love this, what a wonderful day!")}
    tap = "backbone.embeddings.words"
    x = study.run(model, inputs, tap)[tap][0]
    with torch.no_grad():
        baseline = model.backbone.embeddings.word.weight[words.mask_token_id].expand_as(x)

    def gradient(vectors: Tensor) -> Tensor:
        leaf = vectors.detach().clone().requires_grad_()
        with torch.enable_grad():
            logits = study.run(model, inputs, edit={tap: lambda _: leaf[None]}, grad=True).output.logits
            (found,) = torch.autograd.grad(logits[0, 1] - logits[0, 0], leaf)
        return found

    return {"the share of each token": part(gradient, x, baseline, 16)}


def _integrated(gradient: Part, x: Tensor, baseline: Tensor, steps: int, way: str) -> Tensor:
    shift = {"left": 0.0, "right": 1.0}.get(way, 0.5)
    points = [baseline + (i + shift) / steps * (x - baseline) for i in range(steps)]
    if way == "origin":
        points = [(i + shift) / steps * x for i in range(steps)]
    mean = torch.stack([gradient(point) for point in points]).mean(0)
    if way == "end":
        mean = gradient(x)
    if way == "sum":
        mean = mean * steps
    times = x if way in ("x", "origin") else torch.ones_like(x) if way == "bare" else x - baseline
    return (mean * times).norm(dim=-1) if way == "norm" else (mean * times).sum(-1)


GRADIENTS = Exercise(
    "integrated_gradients",
    11,
    _run_gradients,
    solutions.integrated_gradients,
    {
        "the gradient is taken at the end only: that is input x gradient": partial(_integrated, way="end"),
        "the mean gradient is multiplied with x, not with x - baseline": partial(_integrated, way="x"),
        "the way begins at zero, not at the baseline": partial(_integrated, way="origin"),
        "the gradients are summed, not averaged": partial(_integrated, way="sum"),
        "the mean gradient is not multiplied with the way x - baseline": partial(_integrated, way="bare"),
        "gradients are taken at the left end of each step, not in the middle": partial(_integrated, way="left"),
        "gradients are taken at the right end of each step, not in the middle": partial(_integrated, way="right"),
        "the length of the products is taken: their sum keeps the sign": partial(_integrated, way="norm"),
    },
)


# ------------------------------------------------------------------------------------------------------- 12 waves


def _power(table: Tensor, way: str) -> Tensor:
    waves = torch.fft.rfft(table, dim=1 if way == "axis" else 0)
    if way == "axis":
        waves = waves.T
    waves = waves if way == "constant" else waves[1:]
    power = waves.abs().sum(-1) if way == "amplitude" else waves.abs().pow(2).sum(-1)
    if way == "real":
        power = waves.real.pow(2).sum(-1)
    return power if way == "whole" else power / power.sum()


ENERGY = Exercise(
    "energy",
    12,
    lambda part: {
        "the share of each frequency": part(checkpoint("gpt2-grokking").backbone.embeddings.word.weight.detach()[:59])
    },
    solutions.energy,
    {
        "the constant is left in: frequency 0 is the mean": partial(_power, way="constant"),
        "amplitudes are summed: energy is their square": partial(_power, way="amplitude"),
        "the transform runs over the hidden size, not over the numbers": partial(_power, way="axis"),
        "only the real part is taken: cosines without sines": partial(_power, way="real"),
        "the shares do not sum to one": partial(_power, way="whole"),
    },
)


# -------------------------------------------------------------------------------------------------------- 13 probe

THINGS = "dog house river table door king garden letter book bird horse window".split()
DEEDS = "run speak think give take write sing walk hear bring know sleep".split()


@lru_cache(maxsize=1)
def _vectors() -> tuple[Tensor, Tensor]:
    """Of single words, after the first block of bert-books."""
    found = []
    for word in (*THINGS, *DEEDS):
        inputs = {"input_ids": ids("bert-books", word)}
        tap = "backbone.encoder.blocks.0.output"
        found.append(study.run(checkpoint("bert-books"), inputs, tap)[tap][0, 1])
    return torch.stack(found), torch.tensor([0] * len(THINGS) + [1] * len(DEEDS))


def _run_probe(part: Part) -> dict[str, Tensor]:
    x, y = _vectors()
    even = torch.tensor([i for i in range(len(x)) if i % 2 == 0 and i < 20])  # 6 things, 4 deeds
    rest = torch.tensor([i for i in range(len(x)) if i not in even.tolist()])
    between = (x[rest] + x[rest].roll(1, 0)) / 2
    new, far = torch.cat([x[rest], between]), 3 * x[y == 0].mean(0)
    return {
        "the class of each new vector": part(x[even], y[even], new),
        "the class of each, all vectors moved by the same way": part(x[even] + far, y[even], new + far),
    }


def _nearest(vectors: Tensor, labels: Tensor, new: Tensor, way: str) -> Tensor:
    groups = [vectors[labels == one] for one in range(int(labels.max()) + 1)]
    means = torch.stack([group.sum(0) if way == "sum" else group.mean(0) for group in groups])
    if way == "one":
        return labels[torch.cdist(new, vectors).argmin(-1)]
    if way == "dot":
        return (new @ means.T).argmax(-1)
    distance = torch.cdist(new, means)
    return distance.argmax(-1) if way == "farthest" else distance.argmin(-1)


PROBE = Exercise(
    "nearest_mean",
    13,
    _run_probe,
    solutions.nearest_mean,
    {
        "vectors of a class are summed, not averaged": partial(_nearest, way="sum"),
        "the farthest mean is taken": partial(_nearest, way="farthest"),
        "the nearest vector decides, not the nearest mean": partial(_nearest, way="one"),
        "dot products are compared, not distances": partial(_nearest, way="dot"),
    },
)

ALL = (FOLLOWS, PRUNING, EFFECTS, LENS, GRADIENTS, ENERGY, PROBE)
