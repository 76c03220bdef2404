"""Path patching: what does one part tell another directly, not by way of the parts between?

Exact in any wiring. In a first run everything but the senders keeps its output of the base's run, the senders give the
source's: what reaches the receivers' inputs is what the senders tell them directly, norms and all (a norm is computed
anew, not linearised, so that post-norm is no harder than pre-norm). In a second run on the base the receivers get
that, and everything behind them follows. Wang et al. 2022 (https://arxiv.org/abs/2211.00593), Goldowsky-Dill et al.
2023 (https://arxiv.org/abs/2304.05969).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import StudyError
from minitransformer.layers import tap_names
from minitransformer.study.patching import check_pair
from minitransformer.study.results import Result
from minitransformer.study.runs import Inputs, Metric, Run, batch_size, find_taps, has_taps, measured, run

Place = str | tuple[str, int]
"""A part of the model, or one head of an attention."""

WRITERS = ("attn.mixed", "cross_attn.mixed", "ffn.out", "embeddings.output")
"""Ends of the taps through which everything in a residual stream has come."""


@dataclass(frozen=True)
class _Part:
    tap: str
    head: int | None


def path_patch(
    model: nn.Module,
    base: Inputs,
    source: Inputs,
    senders: Sequence[Place],
    receivers: Sequence[Place],
    metric: Metric | None = None,
    *,
    normalise: bool = True,
) -> Any:
    """What the senders tell the receivers directly.

    A sender is an attention, a head of it, a feed-forward network or the embeddings: "decoder.blocks.0.attn",
    ("decoder.blocks.0.attn", 3), "decoder.blocks.1.ffn", "decoder_embeddings". A receiver is one of these (an
    attention receives by queries, keys and values), a head, or a tap: "decoder.blocks.1.cross_attn.q",
    "decoder.output", "logits". An encoder's parts tell a decoder's cross-attention by its keys and values.

    Args:
        model: in evaluation mode.
        base: a batch, whose run is changed.
        source: a batch of the same shape, whose values the senders give.
        senders: parts that give.
        receivers: parts that receive.
        metric: model output -> a number for each row.
        normalise: give (patched - base) / (source - base).

    Returns:
        Without a metric the output of the run in which all receivers hear all senders. With one, a result with the
        axis sender (each alone), and row if the batch has more than one.

    Raises:
        StudyError: no such part or head, or base and source differ in shape.
    """
    check_pair(base, source)
    givers = [_sender(model, place) for place in senders]
    takers = [part for place in receivers for part in _receiver(model, place)]
    if not givers or not takers:
        raise StudyError("path_patch needs at least one sender and one receiver")
    writers = [name for name in tap_names(model) if name.endswith(WRITERS)]
    before, given = run(model, base, writers), run(model, source, writers)
    if metric is None:
        return _told(model, base, before, given, givers, takers)
    rows = batch_size(base)
    low, high = measured(metric, before.output, rows), measured(metric, given.output, rows)
    if normalise and bool((low == high).any()):
        raise StudyError("base and source have the same answer: choose another metric or text, or normalise=False")
    effects = []
    for giver in givers:
        value = measured(metric, _told(model, base, before, given, [giver], takers), rows)
        effects.append((value - low) / (high - low) if normalise else value)
    labels = {"sender": tuple(place if isinstance(place, str) else f"{place[0]} head {place[1]}" for place in senders)}
    effect = torch.stack(effects)
    about = {"base": low if rows > 1 else float(low), "source": high if rows > 1 else float(high)}
    axes = ("sender", "row") if rows > 1 else ("sender",)
    return Result(effect if rows > 1 else effect[:, 0], axes, labels, "direct effect on the receivers", about)


def _told(model: nn.Module, base: Inputs, before: Run, given: Run, senders: list[_Part], receivers: list[_Part]) -> Any:
    """The output of the second run."""
    frozen = {name: _instead(before.calls[name]) for name in before.calls}
    for name in {part.tap for part in senders}:
        heads = [part.head for part in senders if part.tap == name]
        changed = [
            value if None in heads else _with_heads(old, value, [h for h in heads if h is not None])
            for old, value in zip(before.calls[name], given.calls[name], strict=True)
        ]
        frozen[name] = _instead(changed)
    taps = list(dict.fromkeys(part.tap for part in receivers))
    heard = run(model, base, taps, edit={name: put for name, put in frozen.items() if name not in taps})
    edits = {}
    for name in taps:
        heads = [part.head for part in receivers if part.tap == name]
        edits[name] = _instead(heard.calls[name], None if None in heads else [h for h in heads if h is not None])
    return run(model, base, edit=edits).output


def _instead(values: Sequence[Tensor], heads: list[int] | None = None) -> Callable[[Tensor], Tensor]:
    """Puts the values in, call by call; only these heads of them, if given."""
    left = iter(values)
    return lambda x: next(left) if heads is None else _with_heads(x, next(left), heads)


def _with_heads(x: Tensor, value: Tensor, heads: list[int]) -> Tensor:
    index = torch.tensor(heads, device=x.device)
    return x.index_copy(1, index, value.index_select(1, index))


def _sender(model: nn.Module, place: Place) -> _Part:
    name, head = (place, None) if isinstance(place, str) else place
    for ending in ("mixed", "out", "output"):
        pattern = f"{name}.{ending}"
        if has_taps(model, pattern) and pattern.endswith(WRITERS):
            return _checked(model, pattern, head)
    if has_taps(model, name) and name.endswith(WRITERS):
        return _checked(model, name, head)
    raise StudyError(
        f"{name!r} does not write to a residual stream: a sender is an attention (or a head of it), a feed-forward "
        "network or the embeddings, such as 'decoder.blocks.0.attn'"
    )


def _receiver(model: nn.Module, place: Place) -> list[_Part]:
    name, head = (place, None) if isinstance(place, str) else place
    if has_taps(model, f"{name}.q"):
        return [_checked(model, f"{name}.{ending}", head) for ending in ("q", "k", "v")]
    if has_taps(model, f"{name}.hidden") and not has_taps(model, name):
        return [_checked(model, f"{name}.hidden", head)]
    return [_checked(model, name, head)]


def _checked(model: nn.Module, pattern: str, head: int | None) -> _Part:
    found = find_taps(model, pattern)
    if len(found) != 1:
        raise StudyError(f"{pattern!r} means {len(found)} taps, {', '.join(found)}: name one")
    ((name, axes),) = found.items()
    if head is not None:
        if axes[:2] != ("batch", "heads"):
            raise StudyError(f"{name} has no heads, its axes are ({' '.join(axes)})")
        kind = "num_kv_heads" if name.endswith((".k", ".v")) else "num_heads"
        count = getattr(model.get_submodule(name.rpartition(".")[0]), kind, None)
        if count is not None and not 0 <= head < count:
            raise StudyError(f"{name} has the heads 0 to {count - 1}, not {head}")
    return _Part(name, head)
