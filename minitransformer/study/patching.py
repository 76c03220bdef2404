"""Activation patching: which intermediate carries what makes two texts come out differently?

A value of the *source*'s run is put into the *base*'s run, and a metric of the answer says how much of the source's
answer comes with it. All places are tried as rows of a few large batches, not one forward pass each.

Vig et al. 2020 (https://arxiv.org/abs/2004.12265), Meng et al. 2022 (https://arxiv.org/abs/2202.05262); on what can go
wrong, Zhang & Nanda 2024 (https://arxiv.org/abs/2309.16042).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from jaxtyping import TypeCheckError
from torch import Tensor, nn

from minitransformer.errors import StudyError, did_you_mean
from minitransformer.layers import MultiHeadAttention
from minitransformer.models.common.base import PretrainedModel
from minitransformer.study.anatomy import stacks
from minitransformer.study.narrowing import AXES, Cell, axis_of, of_tokens_alone, token_alone
from minitransformer.study.results import Result
from minitransformer.study.runs import (
    TOKENS_AT_ONCE,
    Inputs,
    Metric,
    Run,
    batch_size,
    chunks,
    copies,
    find_taps,
    length,
    measured,
    rows_of,
    run,
)

PER_TOKEN = ("ForMaskedLM", "ForCausalLM", "ForSeq2SeqLM", "ForTokenClassification", "ForQuestionAnswering")
"""Heads that answer for each token."""


def patch(
    model: nn.Module,
    base: Inputs,
    source: Inputs,
    metric: Metric,
    taps: str | Sequence[str] = "attn.mixed",
    by: Sequence[str] = ("tap", "head", "position"),
    *,
    normalise: bool = True,
    batch: int | None = None,
) -> Result:
    """Put values of the source's run into the base's, place by place, and measure what changes.

    Args:
        model: in evaluation mode.
        base: the text that is changed, a batch; often the "corrupted" one.
        source: the text whose values are put in, with as many tokens, row by row.
        metric: model output -> a number for each row, such as ``logit(token, foil)``.
        taps: patterns of the places to try; with "tap" in ``by`` one by one, else all of them together.
        by: what else a place is made of: "head", "position" (of the token that a vector belongs to; a row of scores
            and patterns), "key", "neuron"; empty for whole tensors.
        normalise: give (patched - base) / (source - base), so that 0 is the base's answer and 1 the source's.
        batch: rows of a forward pass; by default as many as make 4,096 tokens.

    Returns:
        Axes as in ``by``, and "row" if the batch has more than one.

    Raises:
        StudyError: base and source differ in shape, a tap lacks what ``by`` names, or the metric gives something else
            than a number for each row; or the texts' answers are equal and ``normalise`` would divide by zero.
    """
    check_pair(base, source)
    axes = {name: axes for name, axes in find_taps(model, taps).items()}
    given, wanted = run(model, base, list(axes)), run(model, source, list(axes))
    cells, labels = places(axes, wanted, by)
    rows = batch_size(base)
    low, high = measured(metric, given.output, rows), measured(metric, wanted.output, rows)
    if normalise and bool((high == low).any()):
        raise StudyError(
            "base and source have the same answer, so that there is no effect to share out: choose another metric or "
            "text, or pass normalise=False"
        )
    effect = sweep(model, base, wanted.calls, axes, cells, metric, batch=batch)  # (cells, rows)
    if normalise:
        effect = (effect - low) / (high - low)
    names = list(labels)
    effect = effect.reshape(*[len(labels[name]) for name in names], rows)
    about = {"base": low if rows > 1 else float(low), "source": high if rows > 1 else float(high)}
    title = "effect of patching: 0 as base, 1 as source" if normalise else "metric after patching"
    if rows == 1:
        return Result(effect[..., 0], tuple(names), labels, title, about)
    return Result(effect, (*names, "row"), labels, title, about)


def sweep(
    model: nn.Module,
    base: Inputs,
    values: Mapping[str, Sequence[Tensor]],
    axes: Mapping[str, tuple[str, ...]],
    cells: Sequence[Cell],
    metric: Metric,
    *,
    batch: int | None = None,
) -> Tensor:
    """The metric for copies of ``base`` in which each cell's part of a tap is replaced by ``values``, (cells, rows).

    Args:
        model: in evaluation mode.
        base: a batch.
        values: tap -> what to put in, call by call, in the shape of what passes in a run on ``base``.
        axes: names of each tap's axes.
        cells: which part of which tap is replaced, each in a copy of its own.
        metric: model output -> a number for each row.
        batch: rows of a forward pass; by default as many as make 4,096 tokens.
    """
    rows = batch_size(base)
    at_once = max(1, (batch or max(1, TOKENS_AT_ONCE // max(1, length(base)))) // rows)
    found: dict[int, Tensor] = {}
    together: dict[tuple[str | None, str | None], list[int]] = {}
    for number, cell in enumerate(cells):
        block = _grows_at(model, values, cell, rows)
        alone = None if block is None else token_alone(model, block, cell)
        together.setdefault((block, alone), []).append(number)
    blocks = list(dict.fromkeys(f"{block}.output" for block, alone in together if alone))
    usual = run(model, base, blocks) if blocks else None
    for (block, alone), group in together.items():
        for _, numbers in chunks(group, at_once):
            part = [cells[number] for number in numbers]
            names = [name for name in axes if any(name in cell.taps for cell in part)]
            output = None
            if block is not None and len(part) > 1:
                with suppress(TypeCheckError):  # where shapes in signatures are checked: a block takes one, gives many
                    if alone is not None and usual is not None:
                        about = (part, axes[alone], values[alone][0], usual[f"{block}.output"])
                        edit = of_tokens_alone(block, alone, type(model.get_submodule(block)).forward, *about)
                        edit |= {f"{stack.blocks[0]}.input": _grow(len(part)) for stack in stacks(model)[1:]}
                    else:
                        edit = _growing(model, block, len(part), _edits(names, axes, values, part, rows))
                    output = run(model, base, edit=edit, strict=False).output
            if output is None:
                edit = _edits(names, axes, values, part, rows)
                output = run(model, copies(base, len(part)), edit=edit).output
            for i, number in enumerate(numbers):
                cut = rows_of(output, i * rows, (i + 1) * rows, len(part) * rows)
                found[number] = measured(metric, cut, rows)
    return torch.stack([found[number] for number in range(len(cells))])


def _grows_at(model: nn.Module, values: Mapping[str, Sequence[Tensor]], cell: Cell, rows: int) -> str | None:
    """The block before which all copies of a single row are one, so that it need not be copied until there.

    Only where nothing else than the residual stream has a row for each text: in the blocks of ours that are passed
    once, of a model with one stack or of an encoder, under heads that answer for each token.
    """
    if rows != 1 or len(cell.taps) != 1 or len(values[cell.taps[0]]) != 1 or not isinstance(model, PretrainedModel):
        return None
    if getattr(model, "head", None) is not None and model.HEAD not in PER_TOKEN:
        return None
    for block in stacks(model)[0].blocks:
        if cell.taps[0].startswith(f"{block}.") and isinstance(
            model.get_submodule(f"{block}.attn"), MultiHeadAttention
        ):
            return block
    return None


def _growing(
    model: nn.Module, block: str, times: int, edits: Mapping[str, Callable[[Tensor], Tensor]]
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Edits that make copies of the one row, before the block and before a decoder behind it; then these."""
    places, grow = [block, *(stack.blocks[0] for stack in stacks(model)[1:])], _grow(times)
    grown: dict[str, Callable[[Tensor], Tensor]] = {f"{place}.input": grow for place in places}
    for name, edit in edits.items():
        grown[name] = partial(_grown_and, grow, edit) if name in grown else edit
    return grown


def _grow(times: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x.expand(times, *x.shape[1:])


def _grown_and(grow: Callable[[Tensor], Tensor], edit: Callable[[Tensor], Tensor], passing: Tensor) -> Tensor:
    return edit(grow(passing))


def check_pair(base: Inputs, source: Inputs) -> None:
    """Raise a StudyError unless both texts have the same inputs in the same shapes."""
    if not isinstance(base, Mapping) or not isinstance(source, Mapping):
        raise StudyError("base and source must be what a tokenizer gives, such as tokenizer(text, return_tensors='pt')")
    if set(base) != set(source):
        raise StudyError(f"base and source need the same inputs: {sorted(base)} and {sorted(source)}")
    for name in base:
        a, b = tuple(base[name].shape), tuple(source[name].shape)
        if a != b:
            raise StudyError(
                f"base and source must have the same shape, token by token, but {name} has {a} and {b}: use texts of "
                "equally many tokens (exchange one word for another), or pad both to one length on the same side"
            )


def places(axes: dict[str, tuple[str, ...]], wanted: Run, by: Sequence[str]) -> tuple[list[Cell], dict[str, Any]]:
    """All places of a sweep in the order of ``by``, and a label for each along each axis."""
    labels: dict[str, tuple[str, ...]] = {}
    for word in by:
        if word == "tap":
            labels[word] = tuple(axes)
            continue
        if word not in AXES:
            known = ("tap", *AXES)
            raise StudyError(f"by knows no {word!r}.{did_you_mean(word, known)} Known are {', '.join(known)}.")
        sizes = {name: wanted.calls[name][0].shape[axis_of(name, names, word)] for name, names in axes.items()}
        if len(set(sizes.values())) > 1:
            raise StudyError(f"these taps do not have the same number of places by {word!r}: {sizes}; sweep them apart")
        labels[word] = tuple(str(i) for i in range(next(iter(sizes.values()))))
    cells = [Cell(tuple(axes), ())]
    for word, names in labels.items():
        if word == "tap":
            cells = [Cell((name,), cell.places) for cell in cells for name in names]
        else:
            cells = [Cell(cell.taps, (*cell.places, (word, i))) for cell in cells for i in range(len(names))]
    return cells, labels


def _edits(
    names: Sequence[str],
    axes: Mapping[str, tuple[str, ...]],
    values: Mapping[str, Sequence[Tensor]],
    cells: Sequence[Cell],
    rows: int,
) -> dict[str, Callable[[Tensor], Tensor]]:
    """For each tap what replaces, in each copy of the base, the part that its cell names."""
    return {name: _edit(name, axes[name], values[name], cells, rows) for name in names}


def _edit(
    name: str, axes: tuple[str, ...], calls: Sequence[Tensor], cells: Sequence[Cell], rows: int
) -> Callable[[Tensor], Tensor]:
    mine = [(i, cell) for i, cell in enumerate(cells) if name in cell.taps]
    values = iter(calls)

    def put(x: Tensor) -> Tensor:
        value = next(values)
        if len(value) != rows or len(x) != len(cells) * rows:
            raise StudyError(f"{name} is the same for all rows: it cannot be patched row by row")
        x = x.clone()
        for i, cell in mine:
            index: list[Any] = [slice(None)] * value.dim()
            for word, place in cell.places:
                index[axis_of(name, axes, word)] = place
            x[i * rows : (i + 1) * rows][tuple(index)] = value[tuple(index)]
        return x

    return put
