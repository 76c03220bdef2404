"""What a forward pass costs: parameters, bytes and operations of each module, by the shapes that pass."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import StudyError
from minitransformer.layers import Tap
from minitransformer.study.results import Result
from minitransformer.study.runs import Inputs, check_inputs, find_taps, has_taps, run

MEASURES = ("parameters", "bytes", "flops")


def cost(model: nn.Module, inputs: Inputs) -> Result:
    """Parameters, bytes and FLOPs of each module that has any, for a forward pass on ``inputs``.

    A product of matrices counts two operations for each of its multiplications (one to multiply, one to add), as in
    Kaplan et al. 2020 (https://arxiv.org/abs/2001.08361): a linear layer 2 x inputs x outputs for each vector that
    passes, attention 2 x queries x keys x head size for the scores of each head, and as much for the mixing, masked
    places included, whether a fused kernel computes it or the readable code. Norms, activations, biases and sums are
    not counted: they are less by a factor of the width. A shared weight counts where it comes first; its module has
    bytes and parameters of its own only.

    Args:
        model: in evaluation mode.
        inputs: a batch; FLOPs are those of all its rows.

    Returns:
        Axes module ("" is the whole), measure. ``about`` has the bytes of cache that each token of a text takes.
    """
    check_inputs(model, inputs)
    flops: dict[str, float] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                stack.callback(module.register_forward_hook(_counted(flops, name)).remove)
        attentions = [name for name in find_taps(model, "*.q")] if has_taps(model, "*.q") else []
        watched = run(model, inputs, [*attentions, *(name.removesuffix("q") + "k" for name in attentions)])
    for name in attentions:
        place = name.removesuffix(".q")
        for q, k in zip(watched.calls[name], watched.calls[f"{place}.k"], strict=True):
            pairs = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
            flops[place] = flops.get(place, 0) + 2 * pairs * q.shape[3] * 2  # scores, and the mixing of values
            r = watched.calls.get(f"{place}.r")
            if r is not None:
                flops[place] += 2 * q.shape[0] * q.shape[1] * q.shape[2] * r[0].shape[1] * q.shape[3]
    names = [n for n, m in model.named_modules() if not isinstance(m, Tap) and (_own(model, n) or _within(flops, n))]
    seen: set[int] = set()
    own: dict[str, tuple[int, int]] = {}
    for name, module in model.named_modules():
        mine = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(id(p) for p in mine)
        own[name] = (sum(p.numel() for p in mine), sum(p.numel() * p.element_size() for p in mine))
    rows = [
        [
            float(sum(n for place, (n, _) in own.items() if _inside(place, name))),
            float(sum(n for place, (_, n) in own.items() if _inside(place, name))),
            float(_within(flops, name)),
        ]
        for name in names
    ]
    labels = {"module": tuple(names), "measure": MEASURES}
    about = {"cache_bytes_per_token": cache_bytes(model, inputs), "rows": max(len(x) for x in inputs.values())}
    values = torch.tensor(rows, dtype=torch.float64)
    return Result(values, ("module", "measure"), labels, f"cost of {type(model).__name__}", about)


def cache_bytes(model: nn.Module, inputs: Inputs) -> int:
    """Bytes that keys and values of one more token take in a decoder's cache; 0 for an encoder alone.

    Keys and values of the source, which an encoder-decoder keeps once for each source token, are counted for a source
    token in ``cross_attn``, and not here.
    """
    if not has_taps(model, "*decoder.*.attn.k"):
        return 0
    watched = run(model, inputs, "*decoder.*.attn.k")
    return sum(2 * x.shape[1] * x.shape[3] * x.element_size() for calls in watched.calls.values() for x in calls)


def _counted(flops: dict[str, float], name: str) -> Any:
    def count(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Linear)
        flops[name] = flops.get(name, 0) + 2 * output.numel() * module.in_features

    return count


def _own(model: nn.Module, name: str) -> bool:
    return any(True for _ in model.get_submodule(name).parameters())


def _inside(place: str, name: str) -> bool:
    return not name or place == name or place.startswith(f"{name}.")


def _within(flops: dict[str, float], name: str) -> float:
    return sum(n for place, n in flops.items() if _inside(place, name))


def cost_table(result: Result, depth: int = 3) -> str:
    """The modules down to ``depth``, in a table with thousands marked."""
    if "module" not in result.axes:
        raise StudyError("this is no result of cost()")
    lines = [f"{'module':<40}{'parameters':>16}{'MB':>10}{'MFLOPs':>14}"]
    for name, (parameters, size, flops) in zip(result.names("module"), result.values.tolist(), strict=True):
        if name.count(".") < depth:
            lines.append(f"{name or 'all':<40}{parameters:>16,.0f}{size / 1e6:>10.2f}{flops / 1e6:>14,.2f}")
    return "\n".join(lines)
