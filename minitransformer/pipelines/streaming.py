"""From inputs to results, in order and lazily: read some inputs ahead, run their chunks in batches, finish them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from minitransformer.errors import PipelineError, TokenizerError
from minitransformer.pipelines.batching import BatchSize, Chunk, Sharing, plan_batches

AUTO_WINDOW = 512
"""With ``batch_size="auto"``: how many chunks are read ahead of the first result, to sort them by length."""
FIRST_WINDOW = 16
"""The same for the first results of a stream; it doubles from there, so that they do not wait long."""


@dataclass
class _Item:
    """One input on its way: its chunks' outputs as far as they are known, then its result."""

    outputs: list[Chunk | None] = field(default_factory=list)
    missing: int = 0
    result: Any = None


def stream(
    inputs: Iterable[Any],
    batch_size: BatchSize,
    *,
    prepare: Callable[[Any, int], list[Chunk]],
    run: Callable[[list[Chunk]], list[Chunk]],
    finish: Callable[[list[Chunk]], Any],
    sharing: Sharing,
    lazy: bool = False,
) -> Iterator[Any]:
    """Results in the order of ``inputs``, reading ahead no further than one batch (one window if "auto").

    What is held at any time is the chunks of that window, the outputs of the inputs that wait for further chunks, and
    the results that wait for earlier ones.

    Args:
        inputs: anything that can be iterated, also without end.
        batch_size: chunks of a batch, or "auto".
        prepare: makes the chunks of an input, given its number.
        run: makes the outputs of a batch of chunks.
        finish: makes the result of an input from the outputs of its chunks.
        sharing: which chunks may share a batch.
        lazy: somebody takes the results one by one: the first ones wait for few inputs, and where an input cannot be
            read, the results of those before it come first.
    """
    auto = batch_size == "auto"
    read_ahead = batch_size if batch_size != "auto" else FIRST_WINDOW if lazy else AUTO_WINDOW
    waiting: deque[_Item] = deque()  # inputs whose results have not been given out, in order
    pending: deque[tuple[_Item, int, Chunk]] = deque()  # their chunks that have not run yet

    def run_pending(count: int) -> None:
        taken = [pending.popleft() for _ in range(count)]
        for places in plan_batches([chunk for _, _, chunk in taken], batch_size, sharing):
            rows = run([taken[i][2] for i in places])
            for i, row in zip(places, rows, strict=True):
                item, position, _ = taken[i]
                item.outputs[position] = row
                item.missing -= 1
                if not item.missing:  # at once, so that outputs, which are large, do not pile up
                    item.result = finish([output for output in item.outputs if output is not None])
                    item.outputs = []

    def finished() -> Iterator[Any]:
        while waiting and not waiting[0].missing:
            yield waiting.popleft().result

    failure: Exception | None = None
    source = enumerate(inputs)
    while True:
        try:
            number, one = next(source)
            chunks = prepare(one, number)
        except StopIteration:
            break
        except Exception as error:
            if not lazy:
                raise
            failure = error
            break
        item = _Item([None] * len(chunks), missing=len(chunks))
        if not chunks:
            item.result = finish([])
        pending.extend((item, position, chunk) for position, chunk in enumerate(chunks))
        waiting.append(item)
        while len(pending) >= read_ahead:
            run_pending(read_ahead)
            yield from finished()
            if auto:
                read_ahead = min(2 * read_ahead, AUTO_WINDOW)
    run_pending(len(pending))
    yield from finished()
    if failure is not None:
        try:
            raise failure
        finally:
            failure = None  # its traceback holds this frame, and all that is in it


@contextmanager
def naming_input(number: int | None) -> Iterator[None]:
    """Put the number of an input of a list before the message of an error."""
    try:
        yield
    except (PipelineError, TokenizerError) as error:
        if number is None:
            raise
        raise type(error)(f"input {number}: {error}") from error


def listed(inputs: Any) -> Any:
    """Inputs of which there are several, and of known number, as a list: an array, a column of a table, a set ...

    Everything else is as it was: one input, a list, and what is read as a stream (a generator, a dataset).

    Raises:
        PipelineError: a table, or an array that holds nothing that can be read.
    """
    if isinstance(inputs, (str, bytes, Mapping, list, tuple)) or is_dataset(inputs):
        return inputs
    if hasattr(inputs, "iloc") and hasattr(inputs, "columns"):
        raise PipelineError("the input is a table: pass one of its columns, such as table['text']")
    if hasattr(inputs, "tolist"):  # an array, of which one without axes is one input
        try:
            return inputs.tolist()
        except Exception as error:  # on PyTorch's meta device, sparse, nested
            raise PipelineError(f"the input is an array without values ({error}): pass texts") from error
    return list(read_stream(inputs)) if hasattr(inputs, "__len__") and is_stream(inputs) else inputs


def is_dataset(inputs: Any) -> bool:
    """Whether inputs are a dataset of PyTorch or of the package datasets, which may be too large for a list."""
    return any(kind.__name__ in ("Dataset", "IterableDataset") for kind in type(inputs).__mro__)


def is_stream(inputs: Any) -> bool:
    """Whether inputs are to be read one by one: what can be iterated, or has a length and an index."""
    if isinstance(inputs, (str, bytes, Mapping, list, tuple)):
        return False
    return isinstance(inputs, Iterable) or (hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"))


def read_stream(inputs: Any) -> Iterator[Any]:
    """The inputs of a stream, one by one; a dataset that cannot be iterated is read by index."""
    if isinstance(inputs, Iterable):
        return iter(inputs)
    return (inputs[i] for i in range(len(inputs)))
