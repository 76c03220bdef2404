"""Batches: which chunks run together, how they are padded, and how their outputs are taken apart again.

A *chunk* is what ``preprocess`` makes of an input: a dictionary whose tensors have a leading axis of length
one. Most tasks make one chunk of an input; zero-shot classification makes one for each label, question
answering one for each stretch of a long context. Chunks of different inputs share batches.

Padding never shows: the model gets an attention mask, and whatever has a token axis is cut back to its own
length before ``postprocess`` sees it. Where a batch could change a result by more than rounding, the task says
so in its `Sharing`, and such chunks do not share one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch

from minitransformer.errors import PipelineError
from minitransformer.options import Count, read_value

Chunk = dict[str, Any]
BatchSize = int | Literal["auto"]
Side = Literal["left", "right"]

AUTO_TOKENS = 2048
"""With ``batch_size="auto"``: the most tokens of one batch, padding included."""
AUTO_ROWS = 128
"""With ``batch_size="auto"``: the most rows of one batch."""
AUTO_PADDING = 256
"""With ``batch_size="auto"``: the most padding of one batch, in tokens; another batch costs less than more of it."""
ACCELERATED = 16
"""How many times more of all these a GPU gets."""

ALONE: Final = object()
"""A key that is equal to no other."""


def check_batch_size(batch_size: Any) -> BatchSize:
    """``batch_size`` itself, if it is a positive integer or ``"auto"``."""
    read: BatchSize = read_value("batch_size", batch_size, Count | Literal["auto"], PipelineError)
    return read


def chunk_length(chunk: Chunk) -> int:
    """Number of tokens of a chunk."""
    return int(chunk["input_ids"].shape[-1])


@dataclass(frozen=True)
class Sharing:
    """Which chunks of a call may share a batch.

    Attributes:
        key: chunks share a batch only if this is equal for them; a chunk whose key is ``ALONE`` runs alone.
        cost: with "auto", what a chunk takes of the budget: its tokens, or those that will come of it too.
        tokens: with "auto", that budget.
        rows: with "auto", the most chunks of a batch.
        padding: with "auto", the most of a batch's cost that may be padding.
        in_order: "auto" runs one chunk after the other, in their order.
    """

    key: Callable[[Chunk], Hashable] = lambda chunk: None
    cost: Callable[[Chunk], int] = chunk_length
    tokens: int = AUTO_TOKENS
    rows: int = AUTO_ROWS
    padding: int = AUTO_PADDING
    in_order: bool = False


def plan_batches(chunks: Sequence[Chunk], batch_size: BatchSize, sharing: Sharing) -> list[list[int]]:
    """Share out chunks among batches.

    Args:
        chunks: what is to run.
        batch_size: how many chunks at once; or "auto": as many as fit, chunks of like length together.
        sharing: which of them may run together.

    Returns:
        for each batch, the places of its chunks in ``chunks``.
    """
    if batch_size == "auto":
        most, cost = sharing.rows, sharing.cost
    else:
        most, cost = batch_size, lambda chunk: 0  # their order and number, whatever they cost
    costs = [cost(chunk) for chunk in chunks]
    # longest first, so that it shows at once if memory is short
    order = sorted(range(len(chunks)), key=lambda i: -costs[i])
    open_batches: dict[Hashable, list[int]] = {}
    batches: list[list[int]] = []
    for i in order:
        key = sharing.key(chunks[i])
        batch = None if key is ALONE else open_batches.get(key)
        if batch is not None:
            total = costs[batch[0]] * (len(batch) + 1)
            padding = total - sum(costs[j] for j in (*batch, i))
            if len(batch) == most or total > sharing.tokens or padding > sharing.padding:
                batch = None
        if batch is None:
            batch = open_batches[key] = []
            batches.append(batch)
        batch.append(i)
    return batches


def collate(chunks: Sequence[Chunk], pad_token_id: int | None, side: Side) -> Chunk:
    """One batch of several chunks.

    Token ids, attention mask and token types, (1, T) each, become tensors (B, longest T); everything else
    becomes a list of B values, which ``forward`` passes on. Without a pad token any other fills up, as the mask hides
    it.
    """
    fill = {"input_ids": pad_token_id or 0, "attention_mask": 0, "token_type_ids": 0}
    lengths = [chunk_length(chunk) for chunk in chunks]
    longest = max(lengths)
    places = [slice(longest - n, None) if side == "left" else slice(0, n) for n in lengths]
    batch: Chunk = {}
    for name, first in chunks[0].items():
        if name not in fill:
            batch[name] = [chunk[name] for chunk in chunks]
            continue
        batch[name] = first.new_full((len(chunks), longest), fill[name])
        for row, chunk, place in zip(batch[name], chunks, places, strict=True):
            row[place] = chunk[name][0]
    if "attention_mask" not in batch:
        batch["attention_mask"] = torch.zeros_like(batch["input_ids"])
        for row, place in zip(batch["attention_mask"], places, strict=True):
            row[place] = 1
    return batch


def separate(
    outputs: Chunk, batch: Chunk, chunks: Sequence[Chunk], token_outputs: Sequence[str], side: Side
) -> list[Chunk]:
    """The outputs of each chunk, with a leading axis of length 1 and without padding.

    Args:
        outputs: what ``forward`` returned for ``batch``. What it only passed on is taken from the chunk itself.
        batch: what `collate` made.
        chunks: what it made it of.
        token_outputs: names of the outputs whose second axis counts tokens.
        side: where the padding is.
    """
    new = {name: value for name, value in outputs.items() if name not in batch or batch[name] is not value}
    rows = []
    for i, chunk in enumerate(chunks):
        row = dict(chunk)
        for name, value in new.items():
            row[name] = None if value is None else value[i : i + 1]
            if name in token_outputs and value is not None:
                length = chunk_length(chunk)
                row[name] = row[name][:, -length:] if side == "left" else row[name][:, :length]
        rows.append(row)
    return rows
