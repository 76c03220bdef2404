"""Runs of a model with its taps watched: what every study is made of. A model does not know that it is studied."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.errors import StudyError, did_you_mean
from minitransformer.layers import tap_names, trace

Inputs = Mapping[str, Tensor]
"""What a model is called with: ``input_ids``, ``attention_mask`` ...; the first axis of each is the batch."""

TOKENS_AT_ONCE = 4096
"""Tokens of edited copies that one forward pass holds, by default."""


@dataclass
class Run:
    """A forward pass: its output, and what passed the watched taps."""

    output: Any
    calls: dict[str, list[Tensor]]
    """Tap -> every tensor that passed it, in order (a block that several layers share is passed once for each)."""
    order: list[tuple[str, int]]
    """Tap and number of the call, in the order in which they came."""

    def __getitem__(self, name: str) -> Tensor:
        """The one tensor that passed the tap ``name``."""
        (x,) = self.calls[name]
        return x


def find_taps(model: nn.Module, patterns: str | Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The taps that match any of the patterns: name -> names of its axes, in the order of the forward pass.

    Raises:
        StudyError: a pattern matches none; the message names the nearest one.
    """
    known = tap_names(model)
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in known):
            ends = [".".join(name.split(".")[-parts:]) for name in known for parts in (1, 2, 3)]
            hint = did_you_mean(pattern, [*known, *ends])
            raise StudyError(f"no tap of {type(model).__name__} matches {pattern!r}.{hint} tap_names(model) lists all.")
    return {
        name: tuple(axes.split())
        for name, axes in known.items()
        if any(_matches(name, pattern) for pattern in patterns)
    }


def has_taps(model: nn.Module, pattern: str) -> bool:
    """Whether any tap matches the pattern."""
    return any(_matches(name, pattern) for name in tap_names(model))


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def run(
    model: nn.Module,
    inputs: Inputs,
    taps: str | Sequence[str] = (),
    *,
    edit: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    grad: bool = False,
    strict: bool = True,
) -> Run:
    """Run the model on ``inputs``, keep what passes the taps that match.

    Args:
        model: in evaluation mode.
        inputs: its arguments.
        taps: patterns.
        edit: exact name of a tap -> what to put in the place of the passing tensor.
        grad: keep the graph for a way back.
        strict: whether edits must keep shape and type.
    """
    check_inputs(model, inputs)
    names = list(find_taps(model, taps)) if taps else []
    calls: dict[str, list[Tensor]] = {name: [] for name in names}
    order: list[tuple[str, int]] = []

    def note(name: str, change: Callable[[Tensor], Tensor] | None, x: Tensor) -> Tensor:
        x = x if change is None else change(x)
        if name in calls:
            order.append((name, len(calls[name])))
            calls[name].append(x)
        return x

    edits = dict(edit or {})
    watch = {name: partial(note, name, edits.get(name)) for name in [*names, *(n for n in edits if n not in calls)]}
    with (
        nullcontext() if grad else torch.no_grad(),
        trace(model, edit=watch, strict=strict) if watch else nullcontext(),
    ):
        output = model(**inputs)
    return Run(output, calls, order)


def check_inputs(model: nn.Module, inputs: Inputs) -> None:
    """Raise a StudyError if the model would draw lots, or an input is no tensor whose first axis is the batch."""
    if model.training:
        raise StudyError("the model is in training mode, where dropout would blur what is measured: call model.eval()")
    if not isinstance(inputs, Mapping) or not inputs:
        raise StudyError("inputs must be what a tokenizer gives, such as tokenizer(texts, return_tensors='pt')")
    for name, x in inputs.items():
        if not isinstance(x, Tensor):
            raise StudyError(f"{name} must be a tensor whose first axis is the batch, not {type(x).__name__}")


def batch_size(inputs: Inputs) -> int:
    """Rows of the batch."""
    return max(len(x) for x in inputs.values())


def length(inputs: Inputs) -> int:
    """Tokens of a row, source and target together."""
    return sum(x.shape[1] for name, x in inputs.items() if name in ("input_ids", "decoder_input_ids"))


def copies(inputs: Inputs, times: int) -> dict[str, Tensor]:
    """The batch ``times`` times, one copy after another."""
    rows = batch_size(inputs)
    return {
        name: x if len(x) == 1 and rows > 1 else x.repeat(times, *[1] * (x.dim() - 1)) for name, x in inputs.items()
    }


def rows_of(output: Any, first: int, end: int, total: int) -> Any:
    """The output of these rows alone: every tensor with ``total`` rows is cut."""

    def cut(x: Any) -> Any:
        if isinstance(x, Tensor) and x.dim() and len(x) == total:
            return x[first:end]
        return tuple(map(cut, x)) if isinstance(x, tuple) else x

    if dataclasses.is_dataclass(output):
        changed = {f.name: cut(getattr(output, f.name)) for f in dataclasses.fields(output)}
        return dataclasses.replace(output, **changed)  # type: ignore[type-var]
    return cut(output)


Metric = Callable[[Any], Tensor]
"""From a model's output to a number for each row, (batch,)."""


def measured(metric: Metric, output: Any, rows: int) -> Tensor:
    """What ``metric`` says of an output of ``rows`` rows, (rows,).

    Raises:
        StudyError: it is not one number for each row.
    """
    value = metric(output)
    if isinstance(value, Tensor) and value.dim() == 0 and rows == 1:
        value = value[None]
    if not isinstance(value, Tensor) or value.shape != (rows,):
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise StudyError(f"the metric must give one number for each of the {rows} rows, a tensor ({rows},), not {got}")
    if not value.is_floating_point():
        raise StudyError(f"the metric must give floating-point numbers, not {value.dtype}")
    return value


def logits_of(output: Any) -> Tensor:
    """The scores in an output, whatever the head calls them."""
    for name in ("logits", "prediction_logits", "start_logits"):
        if getattr(output, name, None) is not None:
            return getattr(output, name)
    raise StudyError("the model has no head that scores anything: load it by an AutoModelFor... class")


def logit(token: int | Tensor, foil: int | Tensor | None = None, *, position: int | Tensor = -1) -> Metric:
    """The metric most studies use: a word's logit, or by how much it is larger than another word's.

    Args:
        token: an id, or one for each row.
        foil: the word to compare with; by default the logit itself.
        position: of the token whose output is read, or one for each row; ignored where a text has one answer.
    """

    def metric(output: Any) -> Tensor:
        scores = logits_of(output)  # (B, T, V), or (B, V)
        rows = torch.arange(len(scores), device=scores.device)
        if scores.dim() == 3:
            places = torch.as_tensor(position, device=scores.device).expand(len(scores))
            if bool((places >= scores.shape[1]).any() or (places < -scores.shape[1]).any()):
                raise StudyError(f"position {position} lies outside of the {scores.shape[1]} tokens")
            scores = scores[rows, places]
        chosen = scores[rows, _ids(token, scores)]
        return chosen if foil is None else chosen - scores[rows, _ids(foil, scores)]

    return metric


def _ids(token: int | Tensor, scores: Tensor) -> Tensor:
    ids = torch.as_tensor(token, device=scores.device).expand(len(scores))
    if bool((ids < 0).any() or (ids >= scores.shape[-1]).any()):
        raise StudyError(f"token {token} is none of the {scores.shape[-1]} that the model scores")
    return ids


def loss(labels: Tensor, *, shift: bool = False) -> Metric:
    """The metric of how well a model writes or fills: the mean negative log probability of the labels of each row.

    Args:
        labels: (batch, token); -100 does not count.
        shift: the scores at a token are about the next one (decoders without an encoder).
    """

    def metric(output: Any) -> Tensor:
        scores = logits_of(output)
        wanted = labels.to(scores.device)
        if shift:
            scores, wanted = scores[:, :-1], wanted[:, 1:]
        if scores.shape[:2] != wanted.shape:
            raise StudyError(f"labels {tuple(labels.shape)} do not fit scores {tuple(scores.shape)}")
        counted = wanted != -100
        words = F.cross_entropy(scores.transpose(1, 2), wanted, ignore_index=-100, reduction="none")  # (B, T)
        return words.sum(1) / counted.sum(1).clamp(min=1)

    return metric


def token_mask(inputs: Inputs, tap: str) -> Tensor:
    """1 at the tokens whose vectors pass ``tap``, 0 at their padding, (batch, token)."""
    decoder = "decoder_input_ids" in inputs and any(part.startswith("decoder") for part in tap.split("."))
    ids, mask = ("decoder_input_ids", "decoder_attention_mask") if decoder else ("input_ids", "attention_mask")
    return inputs[mask] if mask in inputs else torch.ones_like(inputs[ids])


def labelled(result: Run, ending: str) -> dict[str, Tensor]:
    """What passed the taps that end so, in order: a name without the ending -> tensor.

    A tap that is passed several times (a block that layers share) has the number of the pass behind its name.
    """
    found = {}
    for name, call in result.order:
        if name.endswith(f".{ending}") or name == ending:
            several = len(result.calls[name]) > 1
            short = name.removesuffix(ending).removesuffix(".")
            found[f"{short}[{call}]" if several else short] = result.calls[name][call]
    return found


def chunks(cells: Sequence[Any], size: int) -> Iterator[tuple[int, Sequence[Any]]]:
    """Neighbouring cells, ``size`` at a time, each time with the number of the first."""
    for first in range(0, len(cells), size):
        yield first, cells[first : first + size]
