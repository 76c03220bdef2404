"""Ablation: what a part is worth, by taking it away; and the gradient's guess of the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from minitransformer.errors import StudyError, did_you_mean
from minitransformer.layers import trace
from minitransformer.study.narrowing import Cell
from minitransformer.study.patching import sweep
from minitransformer.study.results import Result
from minitransformer.study.runs import Inputs, Metric, batch_size, find_taps, has_taps, measured, run, token_mask

HOW = ("zero", "mean", "resample")

What = str | tuple[str, int]
"""A tap (pattern) or an attention; with a number, one head of it."""


@contextmanager
def ablate(
    model: nn.Module, what: What | Sequence[What], how: str = "zero", *, reference: Inputs | None = None
) -> Iterator[None]:
    """Within this context the model goes without these parts.

    ::

        with study.ablate(model, ("decoder.blocks.1.cross_attn", 3)):
            logits = model(**batch).logits

    Args:
        model: any model with taps.
        what: patterns of taps, whose whole tensor goes, or pairs of an attention (or a tap with heads) and a head.
        how: "zero"; "mean", the mean of what passes there in a run on ``reference``; or "resample", what passes there
            in that run, row by row, which needs the shape of the inputs that follow.
        reference: inputs for the last two ways.

    Raises:
        StudyError: no such part or way, or a reference is missing or has another shape.
    """
    if how not in HOW:
        raise StudyError(f"how={how!r} is no way to ablate.{did_you_mean(how, HOW)} Known are {', '.join(HOW)}.")
    if how != "zero" and reference is None:
        raise StudyError(f"how={how!r} needs reference=, the inputs whose values take the place")
    heads = _heads(model, [what] if isinstance(what, str | tuple) else what)
    axes = find_taps(model, list(heads))
    passed = {} if reference is None or how == "zero" else run(model, reference, list(heads)).calls
    if how == "mean" and reference is not None:
        passed = {name: [_mean(x, axes[name], token_mask(reference, name)) for x in xs] for name, xs in passed.items()}
    edits = {name: _without(name, chosen, axes[name], passed.get(name)) for name, chosen in heads.items()}
    with trace(model, edit=edits):
        yield


def _heads(model: nn.Module, what: Sequence[What]) -> dict[str, list[int] | None]:
    """Tap -> its heads that go, None for all of it."""
    found: dict[str, list[int] | None] = {}
    for one in what:
        pattern, head = (one, None) if isinstance(one, str) else one
        if not has_taps(model, pattern) and has_taps(model, f"{pattern}.mixed"):
            pattern = f"{pattern}.mixed"
        for name in find_taps(model, pattern):
            chosen = found.setdefault(name, [] if head is not None else None)
            if head is None:
                found[name] = None
            elif chosen is not None:
                chosen.append(head)
    return found


def _without(
    name: str, heads: list[int] | None, axes: tuple[str, ...], passed: list[Tensor] | None
) -> Callable[[Tensor], Tensor]:
    if heads is not None and "heads" not in axes:
        raise StudyError(f"{name} has no heads, its axes are ({' '.join(axes)})")
    calls = iter(()) if passed is None else _forever(passed)

    def put(x: Tensor) -> Tensor:
        value = torch.zeros_like(x) if passed is None else next(calls)
        if value.dim() != x.dim() or any(a not in (1, b) for a, b in zip(value.shape, x.shape, strict=True)):
            raise StudyError(
                f"the reference has {tuple(value.shape)} at {name} where the text has {tuple(x.shape)}: resample needs "
                "as many rows and tokens; how='mean' does not"
            )
        value = value.expand_as(x).to(x.dtype)
        if heads is None:
            return value.clone()
        size = x.shape[axes.index("heads")]
        if any(not 0 <= head < size for head in heads):
            raise StudyError(f"{name} has the heads 0 to {size - 1}, not {heads}")
        x = x.clone()
        index = torch.tensor(heads, device=x.device)
        return x.index_copy_(axes.index("heads"), index, value.index_select(axes.index("heads"), index))

    return put


def _forever(passed: list[Tensor]) -> Iterator[Tensor]:
    while True:
        yield from passed


def _mean(x: Tensor, axes: tuple[str, ...], mask: Tensor) -> Tensor:
    """The mean over rows and tokens that are no padding; other axes stay."""
    place = next((axes.index(axis) for axis in ("query", "token", "key") if axis in axes), None)
    if place is None or mask.shape != (x.shape[0], x.shape[place]):
        return x.mean(0, keepdim=True)
    weights = mask.to(x.dtype).reshape([n if i in (0, place) else 1 for i, n in enumerate(x.shape)])
    return (x * weights).sum((0, place), keepdim=True) / weights.sum()


def head_importance(
    model: nn.Module, inputs: Inputs, metric: Metric, *, taps: str | Sequence[str] = "*attn.mixed", how: str = "zero"
) -> Result:
    """What each head is worth, by taking it away, and by the gradient of a gate on it.

    The gradient's guess is E |dL/dxi| with a gate xi on the head's mixed values (Michel et al. 2019,
    https://arxiv.org/abs/1905.10650, section 4.1); the effect is the mean change of the metric without the head.

    Args:
        model: in evaluation mode.
        inputs: a batch.
        metric: model output -> a number for each row, such as ``loss(labels)``.
        taps: the heads, as patterns of taps with an axis of heads.
        how: "zero" or "mean" (over this batch).

    Returns:
        Axes tap, head, measure ("effect", "gradient"); ``about`` has Spearman's correlation of the two.
    """
    if how not in HOW[:2]:
        raise StudyError(f"head_importance ablates by 'zero' or 'mean', not {how!r}")
    axes = find_taps(model, taps)
    rows = batch_size(inputs)
    if any("heads" not in names for names in axes.values()):
        raise StudyError(f"taps must have heads, such as '*attn.mixed': {', '.join(axes)}")
    with torch.enable_grad():
        watched = run(model, inputs, list(axes), grad=True)
        value = measured(metric, watched.output, rows)
        tensors = [x for name in axes for x in watched.calls[name]]
        if not value.requires_grad:
            raise StudyError("the metric has no gradient: compute it from the output without detach() or item()")
        gradients = iter(torch.autograd.grad(value.sum(), tensors))
    sizes = {name: watched.calls[name][0].shape[1] for name in axes}
    if len(set(sizes.values())) > 1:
        raise StudyError(f"these taps do not have the same number of heads: {sizes}; study them apart")
    guess = torch.stack(
        [sum((x * next(gradients)).sum((2, 3)) for x in watched.calls[name]).abs().mean(0) for name in axes]  # type: ignore[union-attr]
    )
    zeros = {
        name: [_instead(x.detach(), names, token_mask(inputs, name), how) for x in watched.calls[name]]
        for name, names in axes.items()
    }
    heads = next(iter(sizes.values()))
    cells = [Cell((name,), (("head", head),)) for name in axes for head in range(heads)]
    changed = sweep(model, inputs, zeros, axes, cells, metric) - value.detach()
    effect = changed.mean(1).reshape(len(axes), heads)
    labels = {"tap": tuple(axes), "measure": ("effect", "gradient")}
    about = {"metric": float(value.detach().mean()), "spearman": spearman(effect.flatten(), guess.flatten())}
    title = f"importance of heads ({how}-ablated)"
    return Result(torch.stack([effect, guess.detach()], dim=-1), ("tap", "head", "measure"), labels, title, about)


def _instead(x: Tensor, axes: tuple[str, ...], mask: Tensor, how: str) -> Tensor:
    return torch.zeros_like(x) if how == "zero" else _mean(x, axes, mask).expand_as(x)


def spearman(a: Tensor, b: Tensor) -> float:
    """Correlation of ranks; equal values share theirs."""
    ranks = [(x[:, None] > x).double().sum(1) + (x[:, None] == x).double().sum(1) / 2 for x in (a, b)]
    p, q = (rank - rank.mean() for rank in ranks)
    scale = p.norm() * q.norm()
    return float((p @ q) / scale) if float(scale) else float("nan")
