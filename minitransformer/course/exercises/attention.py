"""Exercises about attention and blocks: each part stands in a checkpoint in the place of the library's own."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.course import solutions
from minitransformer.course.exercises.base import Exercise, InModel, Part, checkpoint, ids
from minitransformer.layers import DecoderCache, MultiHeadAttention, SinusoidalPositions, View, attend

FRENCH, ENGLISH = "Elle veut partir demain.", "She wants to leave tomorrow."


# ---------------------------------------------------------------------------------------------------- 1 positions


def _translation() -> dict[str, Tensor]:
    source, target = ids("marian-fr-en", FRENCH), ids("marian-fr-en", ENGLISH, target=True)
    return {"input_ids": source, "decoder_input_ids": checkpoint("marian-fr-en").shift_right(target)}


def _place_positions(model: nn.Module, part: Part) -> None:
    for module in model.modules():
        if isinstance(module, SinusoidalPositions):
            made = part(*module.table.shape)
            if tuple(made.shape) != tuple(module.table.shape):
                raise ValueError(f"the table has shape {tuple(made.shape)}, not {tuple(module.table.shape)}")
            module.table = made.to(module.table)


def _sinusoids(
    num: int, size: int, *, step: float = 2, first: int = 0, base: float = 10000.0, turn: bool = False
) -> Tensor:
    exponents = torch.arange(0, size // 2).double() * step / size
    angles = (torch.arange(num).double()[:, None] + first) / base**exponents
    parts = [angles.sin(), angles.cos()]
    return torch.cat(parts[::-1] if turn else parts, dim=1)


def _woven(num: int, size: int) -> Tensor:
    halves = _sinusoids(num, size)
    return torch.stack([halves[:, : size // 2], halves[:, size // 2 :]], dim=-1).flatten(1)


_POSITIONS = InModel("marian-fr-en", _translation, _place_positions)
POSITIONS = Exercise(
    "sinusoidal_positions",
    1,
    _POSITIONS.run,
    solutions.sinusoidal_positions,
    {
        "sines and cosines stand in turns, as in the paper; this model has all sines first": _woven,
        "cosines stand before sines": partial(_sinusoids, turn=True),
        "positions count from 1, not from 0": partial(_sinusoids, first=1),
        "the exponents grow by 1 / hidden_size from pair to pair, not by 2 / hidden_size": partial(_sinusoids, step=1),
        "angles are multiplied with 10,000 ** exponent, not divided": partial(_sinusoids, base=1e-4),
        "the base is 1,000, not 10,000": partial(_sinusoids, base=1000.0),
    },
    _POSITIONS.compare,
)


# ---------------------------------------------------------------------------------------------------- 2 attention


def _two_stories() -> dict[str, Tensor]:
    texts = [ids("gpt2-stories", text)[0] for text in ("The old man sat down by the fire.", "She laughed")]
    longest = max(map(len, texts))
    mask = torch.tensor([[1] * len(x) + [0] * (longest - len(x)) for x in texts])
    padded = torch.stack([torch.cat([x, x.new_zeros(longest - len(x))]) for x in texts])
    return {"input_ids": padded, "attention_mask": mask}


def _place_attend(model: nn.Module, part: Part) -> None:
    def mix(module: MultiHeadAttention, x: Tensor, view: View) -> Tensor:
        q, k, v = module.project(x, view)
        allowed = view.allowed(q.shape[2], k.shape[2], x.device)
        mask = torch.ones(1, 1, q.shape[2], k.shape[2], dtype=torch.bool) if allowed is None else allowed
        return module.mixed(part(q, k, v, mask)).transpose(1, 2).flatten(2)

    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.mix = partial(mix, module)  # type: ignore[method-assign]


_ATTEND = InModel("gpt2-stories", _two_stories, _place_attend)
ATTEND = Exercise("attend", 2, _ATTEND.run, solutions.attend, {}, _ATTEND.compare)


# -------------------------------------------------------------------------------------------------------- 3 block


def _masked_sentence() -> dict[str, Tensor]:
    return {"input_ids": ids("bert-books", "She opened the [MASK] and went out.")}


def _place_block(model: nn.Module, part: Part) -> None:
    def forward(block: Any, x: Tensor, view: View | None = None) -> Tensor:
        x = block.input(x)
        return block.output(part(x, lambda y: block.attn(y, view), block.ffn, block.attn_norm, block.ffn_norm))

    for block in model.backbone.encoder.blocks:  # type: ignore[union-attr]
        block.forward = partial(forward, block)


def _pre_norm(x: Tensor, attention: Part, ffn: Part, norm_1: Part, norm_2: Part) -> Tensor:
    x = x + attention(norm_1(x))
    return x + ffn(norm_2(x))


def _one_norm(x: Tensor, attention: Part, ffn: Part, norm_1: Part, norm_2: Part) -> Tensor:
    x = x + attention(x)
    return norm_2(x + ffn(x))


def _late_residual(x: Tensor, attention: Part, ffn: Part, norm_1: Part, norm_2: Part) -> Tensor:
    return norm_2(x + ffn(norm_1(x + attention(x))))


def _sum_of_normed(x: Tensor, attention: Part, ffn: Part, norm_1: Part, norm_2: Part) -> Tensor:
    x = x + norm_1(attention(x))
    return x + norm_2(ffn(x))


_BLOCK = InModel("bert-books", _masked_sentence, _place_block)
BLOCK = Exercise(
    "post_norm_block",
    3,
    _BLOCK.run,
    solutions.post_norm_block,
    {
        "the norms stand before the sublayers: that is pre-norm": _pre_norm,
        "the norm after attention is missing": _one_norm,
        "the second residual takes the block's input, not what the first norm gave": _late_residual,
        "the norms are applied to the sublayers alone, before the sum": _sum_of_normed,
        "the two norms are exchanged": lambda x, a, f, n, m: solutions.post_norm_block(x, a, f, m, n),
        "the residual around attention is missing": lambda x, a, f, n, m: m((y := n(a(x))) + f(y)),
        "the residual around the feed-forward network is missing": lambda x, a, f, n, m: m(f(n(x + a(x)))),
    },
    _BLOCK.compare,
)


# --------------------------------------------------------------------------------------------------- 5 causal mask


def _run_mask(part: Part) -> dict[str, Tensor]:
    """A text at once, and in three pieces with a cache."""
    model, text = checkpoint("gpt2-stories"), ids("gpt2-stories", "The old man sat down by the fire.")
    shapes = [(len(text[0]), len(text[0])), (2, 5), (1, 4), (3, 3)]
    found: dict[str, Tensor] = {f"the mask of {q} queries and {k} keys": torch.as_tensor(part(q, k)) for q, k in shapes}
    for (queries, keys), mask in zip(shapes, list(found.values()), strict=True):
        if tuple(mask.shape) != (queries, keys):
            raise ValueError(f"for {queries} queries and {keys} keys the mask has shape {tuple(mask.shape)}")

    def own(module: MultiHeadAttention, x: Tensor, view: View) -> Tensor:
        q, k, v = module.project(x, view)
        mask = torch.as_tensor(part(q.shape[2], k.shape[2])).bool()[None, None]
        return module.mixed(attend(q, k, v, View(mask=mask), temperature=module.temperature)).transpose(1, 2).flatten(2)

    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.mix = partial(own, module)  # type: ignore[method-assign]
    with torch.no_grad():
        found["the logits of the text at once"] = model(input_ids=text).logits
        cache, logits = DecoderCache(), []
        for piece in (text[:, :4], text[:, 4:6], text[:, 6:]):
            logits.append(model(input_ids=piece, past_key_values=cache).logits)
        found["the logits of the text in pieces, with a cache"] = torch.cat(logits, dim=1)
    return found


def _triangle(queries: int, keys: int, shift: int) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool).tril(shift)


CAUSAL = Exercise(
    "causal_mask",
    5,
    _run_mask,
    solutions.causal_mask,
    {
        "the first query is taken for the first key: with a cache the last query is the last key": (
            lambda q, k: _triangle(q, k, 0)
        ),
        "off by one: it lets see one token into the future": lambda q, k: _triangle(q, k, k - q + 1),
        "off by one: a token may not see itself": lambda q, k: _triangle(q, k, k - q - 1),
        "it is inverted: True must mean that a query may look": lambda q, k: ~_triangle(q, k, k - q),
        "queries and keys are exchanged": lambda q, k: _triangle(q, k, k - q).T.reshape(q, k).contiguous(),
        "it looks into the future, not into the past": lambda q, k: torch.ones(q, k, dtype=torch.bool).triu(k - q),
    },
)


# ----------------------------------------------------------------------------------------------------- 6 induction


def _run_induction(part: Part) -> dict[str, Tensor]:
    """Rows of letters of gpt2-induction, each said twice: what a head of these vectors predicts after each letter."""
    letters, period = checkpoint("gpt2-induction").config.vocab_size, 20
    generator = torch.Generator().manual_seed(0)
    once = torch.stack([torch.randperm(letters, generator=generator)[:period] for _ in range(8)])
    text = torch.cat([once, once], dim=1)
    now = nn.functional.one_hot(text, letters).double()
    before = torch.cat([torch.zeros_like(now[:, :1]), now[:, :-1]], dim=1)
    query, key, value = (torch.as_tensor(x, dtype=torch.float64)[:, None] for x in part(now, before))
    mixed = attend(query, key, value, View(causal=True), temperature=0.01)[:, 0]
    told = mixed[:, period:-1].argmax(-1)
    right = (told == text[:, period + 1 :]).double().mean()
    vectors = {"_queries": query, "_keys": key, "_values": value}
    return {"the letters that it predicts": told, "its accuracy": right, **vectors}


INDUCTION = Exercise(
    "induction_head",
    6,
    _run_induction,
    solutions.induction_head,
    {
        "the keys tell the token itself, so that it looks at the same letter and not behind it": lambda n, b: (n, n, n),
        "the values tell the token before: it copies the letter that it looked for": lambda n, b: (n, b, b),
        "queries and keys are exchanged": lambda n, b: (b, n, n),
        "the queries tell the token before": lambda n, b: (b, b, n),
    },
)


# ----------------------------------------------------------------------------------------------- 7 cross-attention


def _place_cross(model: nn.Module, part: Part) -> None:
    def forward(module: MultiHeadAttention, x: Tensor, view: View) -> Tensor:
        made = part(x, view.memory, module.query, module.key, module.value, module.output, module.num_heads)
        if tuple(made.shape) != tuple(x.shape):
            raise ValueError(f"it gives {tuple(made.shape)} for a target of {tuple(x.shape)}")
        return module.out(made)

    for block in model.backbone.decoder.blocks:  # type: ignore[union-attr]
        block.cross_attn.forward = partial(forward, block.cross_attn)


def _crossed(
    x: Tensor, memory: Tensor, query: Part, key: Part, value: Part, output: Part, num_heads: int,
    *, ask: str = "x", told: str = "memory", mix: str = "memory", scale: float | None = None, axis: int = -1,
) -> Tensor:  # fmt: skip
    def heads(y: Tensor) -> Tensor:
        return y.view(*y.shape[:2], num_heads, -1).transpose(1, 2)

    of = {"x": x, "memory": memory}
    q, k, v = heads(query(of[ask])), heads(key(of[told])), heads(value(of[mix]))
    pattern = (q @ k.transpose(-1, -2) / (scale or math.sqrt(q.shape[-1]))).softmax(axis)
    return output((pattern @ v).transpose(1, 2).flatten(2))


_CROSS = InModel("marian-fr-en", _translation, _place_cross)
CROSS = Exercise(
    "cross_attention",
    7,
    _CROSS.run,
    solutions.cross_attention,
    {
        "queries and keys are exchanged: the target must ask, the source be asked": partial(
            _crossed, ask="memory", told="x", mix="x"
        ),
        "queries and keys are exchanged, values not": partial(_crossed, ask="memory", told="x"),
        "it attends to the target itself: keys and values must come from the source": partial(
            _crossed, told="x", mix="x"
        ),
        "the values come from the target, not from the source": partial(_crossed, mix="x"),
        "the softmax runs over queries, not keys": partial(_crossed, axis=-2),
        "the scores are not divided by sqrt(head_size)": partial(_crossed, scale=1.0),
    },
    _CROSS.compare,
)

ALL = (POSITIONS, ATTEND, BLOCK, CAUSAL, INDUCTION, CROSS)
