"""Keys and values of tokens already seen, owned by whoever decodes.

The caller makes a ``DecoderCache()``, passes it to the model at every step, and the attention layers append to it. The
model reads its position offset from ``cache.length``, once. Nothing is kept inside a module.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

_FIRST_CAPACITY = 96  # tokens; buffers double from here, so appending costs amortised O(1) copies
# Not 64, the usual head size: a compiler takes equal sizes for one, and would compile anew when the buffer has grown.


class KVCache:
    """Keys and values of one attention layer, in buffers that grow by doubling and are filled in place."""

    def __init__(self) -> None:
        self.length = 0  # tokens stored
        self._keys: Tensor | None = None  # (batch, heads, capacity, head_size)
        self._values: Tensor | None = None

    @property
    def filled(self) -> bool:
        """Whether anything was appended yet."""
        return self._keys is not None

    @property
    def keys(self) -> Float[Tensor, "batch heads length head_size"]:
        """The stored keys."""
        if self._keys is None:
            raise ValueError("the cache is empty: append keys and values first")
        return self._keys.narrow(2, 0, self.length)

    @property
    def values(self) -> Float[Tensor, "batch heads length head_size"]:
        """The stored values."""
        if self._values is None:
            raise ValueError("the cache is empty: append keys and values first")
        return self._values.narrow(2, 0, self.length)

    def append(
        self, keys: Float[Tensor, "batch heads new head_size"], values: Float[Tensor, "batch heads new head_size"]
    ) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new tokens; return those of all tokens so far."""
        new = keys.shape[2]
        if self._keys is None or self._values is None:
            capacity = max(_FIRST_CAPACITY, new)
            self._keys, self._values = _buffer(keys, capacity), _buffer(values, capacity)
        else:
            self.reserve(new)
        self._keys.narrow(2, self.length, new).copy_(keys)  # ``narrow``: a slice, found sooner
        self._values.narrow(2, self.length, new).copy_(values)
        self.length += new
        return self.keys, self.values

    def reserve(self, new: int) -> None:
        """Make room for so many more tokens, if there is not; a cache that holds nothing yet has no place for it."""
        if self._keys is not None and self._values is not None and self.length + new > self._keys.shape[2]:
            capacity = max(2 * self._keys.shape[2], self.length + new)
            self._keys, self._values = _buffer(self.keys, capacity), _buffer(self.values, capacity)

    def store(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep keys and values that will not grow (cross-attention's), without a copy; return them."""
        self._keys, self._values, self.length = keys, values, keys.shape[2]
        return keys, values

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep these batch rows, in this order; rows may repeat (beams) or be left out (finished sequences)."""
        if self._keys is not None and self._values is not None:
            self._keys = _buffer(self.keys, self._keys.shape[2], rows)
            self._values = _buffer(self.values, self._values.shape[2], rows)

    def crop(self, length: int) -> None:
        """Forget the tokens after the first ``length``."""
        self.length = min(self.length, length)


class BlockCache:
    """What one decoder block keeps: its own tokens, and the source's keys and values, projected once."""

    def __init__(self) -> None:
        self.self_attn = KVCache()
        self.cross_attn = KVCache()


class DecoderCache:
    """The caches of all decoder blocks; a block's entry appears when the block first asks for it."""

    def __init__(self) -> None:
        self._blocks: list[BlockCache] = []

    @property
    def length(self) -> int:
        """Number of tokens that were decoded so far, padding included: the position offset of the next one."""
        return self._blocks[0].self_attn.length if self._blocks else 0

    @property
    def lengths(self) -> list[int]:
        """Number of tokens in each block's cache: the same in all, if every block extends its own."""
        return [block.self_attn.length for block in self._blocks]

    def __getitem__(self, index: int) -> BlockCache:
        while len(self._blocks) <= index:
            self._blocks.append(BlockCache())
        return self._blocks[index]

    def __len__(self) -> int:
        return len(self._blocks)

    def reorder(self, beams: Int[Tensor, " rows"]) -> None:
        """Let row ``i`` continue the history of row ``beams[i]``.

        Beams only trade places with beams of the same source, whose cross-attention keys and values are equal: those
        stay where they are. ``select`` moves everything.
        """
        for block in self._blocks:
            block.self_attn.select(beams)

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep these batch rows of everything, in this order; rows may repeat or be left out."""
        for block in self._blocks:
            block.self_attn.select(rows)
            block.cross_attn.select(rows)

    def crop(self, length: int) -> None:
        """Forget the decoded tokens after the first ``length``; the source stays."""
        for block in self._blocks:
            block.self_attn.crop(length)


def _buffer(x: Tensor, capacity: int, rows: Tensor | None = None) -> Tensor:
    """A new buffer for ``capacity`` tokens that begins with those of ``x``, or of some of its rows."""
    batch = len(x) if rows is None else len(rows)
    buffer = torch.empty(batch, x.shape[1], capacity, x.shape[3], dtype=x.dtype, device=x.device)
    buffer[:, :, : x.shape[2]] = x if rows is None else x[rows]
    return buffer
