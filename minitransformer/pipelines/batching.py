"""Batches: which chunks run together, how they are padded, and how results return in the order of the inputs.

A *chunk* is what ``preprocess`` makes of an input: a dictionary whose tensors have a leading axis of length
one. Most tasks make one chunk of an input; zero-shot classification makes one for each label, question
answering one for each stretch of a long context. Chunks of different inputs share batches.

Padding never shows: the model gets an attention mask, and whatever has a token axis is cut back to its own
length before ``postprocess`` sees it. So a result does not depend on what else was in its batch, up to
rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from minitransformer.errors import PipelineError

Chunk = dict[str, Any]
BatchSize = int | Literal["auto"]
Side = Literal["left", "right"]

AUTO_TOKENS = 4096
"""With ``batch_size="auto"``: the most tokens of one batch, padding included."""
AUTO_ROWS = 128
"""With ``batch_size="auto"``: the most rows of one batch."""
AUTO_WINDOW = 512
"""With ``batch_size="auto"``: how many chunks are read ahead of the first result, to sort them by length."""


def check_batch_size(batch_size: Any) -> BatchSize:
    """``batch_size`` itself, if it is a positive integer or ``"auto"``."""
    if batch_size == "auto" or (isinstance(batch_size, int) and not isinstance(batch_size, bool) and batch_size > 0):
        return batch_size
    raise PipelineError(f"batch_size must be a positive integer or 'auto', not {batch_size!r}")


def chunk_length(chunk: Chunk) -> int:
    """Number of tokens of a chunk."""
    return int(chunk["input_ids"].shape[-1])


def plan_batches(lengths: Sequence[int], keys: Sequence[Hashable], batch_size: BatchSize) -> list[list[int]]:
    """Share out chunks among batches.

    Args:
        lengths: the number of tokens of each chunk.
        keys: chunks share a batch only if these are equal.
        batch_size: how many chunks at once; or "auto": as many as fit, chunks of like length together.

    Returns:
        for each batch, the places of its chunks in ``lengths``.
    """
    order = list(range(len(lengths)))
    if batch_size == "auto":
        order.sort(key=lambda i: -lengths[i])  # longest first: if memory is short, it shows at once
    open_batches: dict[Hashable, list[int]] = {}
    batches: list[list[int]] = []
    for i in order:
        batch = open_batches.get(keys[i])
        if batch is None or not _has_room(len(batch), lengths[batch[0]], batch_size):
            batch = open_batches[keys[i]] = []
            batches.append(batch)
        batch.append(i)
    return batches


def _has_room(rows: int, longest: int, batch_size: BatchSize) -> bool:
    """Whether a batch can take one more row that is no longer than its first (if "auto")."""
    if batch_size == "auto":
        return rows < AUTO_ROWS and (rows + 1) * longest <= AUTO_TOKENS
    return rows < batch_size


def collate(chunks: Sequence[Chunk], pad_token_id: int | None, side: Side) -> Chunk:
    """One batch of several chunks.

    Token ids, attention mask and token types, (1, T) each, become tensors (B, longest T); everything else
    becomes a list of B values, which ``forward`` passes on.

    Raises:
        PipelineError: rows have different lengths and there is no token to fill them up with.
    """
    fill = {"input_ids": pad_token_id, "attention_mask": 0, "token_type_ids": 0}
    longest = max(chunk_length(chunk) for chunk in chunks)
    batch: Chunk = {}
    for name in chunks[0]:
        values = [chunk[name] for chunk in chunks]
        if name not in fill:
            batch[name] = values
            continue
        value = 0 if fill[name] is None else fill[name]  # only reached without a pad token if all lengths are equal
        short = [longest - row.shape[-1] for row in values]
        ends = [(n, 0) if side == "left" else (0, n) for n in short]
        pad = torch.nn.functional.pad
        batch[name] = torch.cat([pad(row, end, value=value) for row, end in zip(values, ends, strict=True)])
    if "attention_mask" not in batch:
        lengths = torch.tensor([chunk_length(chunk) for chunk in chunks])[:, None]
        at = torch.arange(longest).flip(0) if side == "left" else torch.arange(longest)
        batch["attention_mask"] = (at < lengths).long()
    return batch


def separate(
    outputs: Chunk, batch: Chunk, chunks: Sequence[Chunk], token_outputs: Sequence[str], side: Side
) -> list[Chunk]:
    """Undo `collate`: the outputs of each chunk, with a leading axis of length 1 and without padding.

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


@dataclass
class _Item:
    """One input on its way: its chunks, and their outputs as far as they are known."""

    number: int
    outputs: list[Chunk | None] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return all(output is not None for output in self.outputs)


def stream(
    inputs: Iterable[Any],
    batch_size: BatchSize,
    prepare: Callable[[Any, int], list[Chunk]],
    run: Callable[[list[Chunk]], list[Chunk]],
    finish: Callable[[list[Chunk]], Any],
    key: Callable[[Chunk], Hashable],
) -> Iterator[Any]:
    """Results in the order of ``inputs``, reading ahead no further than one batch (one window if "auto").

    Args:
        inputs: anything that can be iterated, also without end.
        batch_size: chunks of a batch, or "auto".
        prepare: makes the chunks of an input, given its number.
        run: makes the outputs of a batch of chunks.
        finish: makes the result of an input from the outputs of its chunks.
        key: chunks share a batch only if this is equal for them.
    """
    read_ahead = AUTO_WINDOW if batch_size == "auto" else batch_size
    waiting: deque[_Item] = deque()  # inputs without a result yet, in order
    pending: deque[tuple[_Item, int, Chunk]] = deque()  # their chunks that have not run yet

    def run_pending(count: int) -> None:
        taken = [pending.popleft() for _ in range(count)]
        lengths = [chunk_length(chunk) for _, _, chunk in taken]
        keys = [key(chunk) for _, _, chunk in taken]
        for places in plan_batches(lengths, keys, batch_size):
            rows = run([taken[i][2] for i in places])
            for i, row in zip(places, rows, strict=True):
                item, position, _ = taken[i]
                item.outputs[position] = row

    def finished() -> Iterator[Any]:
        while waiting and waiting[0].done:
            yield finish([output for output in waiting.popleft().outputs if output is not None])

    for number, one in enumerate(inputs):
        item = _Item(number)
        for position, chunk in enumerate(prepare(one, number)):
            item.outputs.append(None)
            pending.append((item, position, chunk))
        waiting.append(item)
        while len(pending) >= read_ahead:
            run_pending(read_ahead)
            yield from finished()
    run_pending(len(pending))
    yield from finished()
