"""Keys and values of tokens already seen, owned by whoever decodes.

The caller makes a ``DecoderCache()``, passes it to the model at every step, and the attention layers append to it. The
model reads its position offset from ``cache.length``, once. Nothing is kept inside a module.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

_FIRST_CAPACITY = 96  # tokens; buffers double from here, so appending costs amortised O(1) copies
# Not 64, the usual head size: a compiler takes equal sizes for one, and would compile anew when the buffer has grown.


class KVCache:
    """Keys and values of one attention layer, in buffers that grow by doubling and are filled in place.

    ``copies`` neighbouring rows of the batch may be alike (beams that read one source): each is then stored once, and
    ``stored`` gives them so; ``keys`` and ``values`` have a row for each row of the batch.

    Args:
        roomy: whether the first tokens are put into a buffer with room for more; else they stay where they are until
            others follow, which costs nothing if none do.
    """

    def __init__(self, *, roomy: bool = True) -> None:
        self.length = 0  # tokens stored
        self._roomy = roomy
        self.copies = 1  # rows of the batch for each that is stored
        self._keys: Tensor | None = None  # (batch / copies, heads, capacity, head_size)
        self._values: Tensor | None = None

    @property
    def filled(self) -> bool:
        """Whether anything was appended yet."""
        return self._keys is not None

    @property
    def keys(self) -> Float[Tensor, "batch heads length head_size"]:
        """The keys, of every row."""
        return self._of_every_row(self.stored[0])

    @property
    def values(self) -> Float[Tensor, "batch heads length head_size"]:
        """The values, of every row."""
        return self._of_every_row(self.stored[1])

    @property
    def stored(
        self,
    ) -> tuple[Float[Tensor, "rows heads length head_size"], Float[Tensor, "rows heads length head_size"]]:
        """Keys and values as they are stored: once for ``copies`` rows."""
        if self._keys is None or self._values is None:
            raise ValueError("the cache is empty: append keys and values first")
        return self._keys.narrow(2, 0, self.length), self._values.narrow(2, 0, self.length)

    def _of_every_row(self, x: Tensor) -> Tensor:
        return x if self.copies == 1 else x.repeat_interleave(self.copies, dim=0)

    def append(
        self, keys: Float[Tensor, "batch heads new head_size"], values: Float[Tensor, "batch heads new head_size"]
    ) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new tokens; return those of all tokens so far."""
        new = keys.shape[2]
        if self._keys is None or self._values is None:
            if not self._roomy:
                return self.store(keys, values)
            capacity = max(_FIRST_CAPACITY, new)
            self._keys, self._values = _buffer(keys, capacity), _buffer(values, capacity)
        else:
            self.reserve(new)
        self._keys.narrow(2, self.length, new).copy_(keys)  # ``narrow``: a slice, found sooner
        self._values.narrow(2, self.length, new).copy_(values)
        self.length += new
        return self.stored

    def reserve(self, new: int) -> None:
        """Make room for so many more tokens, if there is not; a cache that holds nothing yet has no place for it."""
        if self._keys is not None and self._values is not None and self.length + new > self._keys.shape[2]:
            capacity = max(2 * self._keys.shape[2], self.length + new)
            self._keys, self._values = _buffer(self.keys, capacity), _buffer(self.values, capacity)

    def store(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep keys and values that will not grow (cross-attention's), without a copy; return them."""
        self._keys, self._values, self.length, self.copies = keys, values, keys.shape[2], 1
        return keys, values

    def share(self, copies: int) -> None:
        """Let each row be ``copies`` neighbouring rows of the batch from now on; nothing is copied."""
        self.copies *= copies

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep these batch rows, in this order; rows may repeat (beams) or be left out (finished sequences)."""
        if self._keys is None or self._values is None:
            return
        if self.copies > 1:
            rows, self.copies = rows // self.copies, 1
        (keys, values), capacity = self.stored, self._keys.shape[2]
        self._keys, self._values = _buffer(keys, capacity, rows), _buffer(values, capacity, rows)

    def crop(self, length: int) -> None:
        """Forget the tokens after the first ``length``."""
        self.length = min(self.length, length)


class BlockCache:
    """What one decoder block keeps: its own tokens, and the source's keys and values, projected once."""

    def __init__(self, *, roomy: bool = True) -> None:
        self.self_attn = KVCache(roomy=roomy)
        self.cross_attn = KVCache()

    def __iter__(self) -> Iterator[Tensor]:
        """Keys and values of its own tokens, then those of the source, if there is one."""
        for each in (self.self_attn, self.cross_attn):
            if each.filled:
                yield from (each.keys, each.values)

    def __len__(self) -> int:
        return sum(2 for each in (self.self_attn, self.cross_attn) if each.filled)

    def __getitem__(self, index: int) -> Tensor:
        return tuple(self)[index]


class DecoderCache:
    """The caches of all decoder blocks; a block's entry appears when the block first asks for it.

    Args:
        roomy: see ``KVCache``.
    """

    def __init__(self, *, roomy: bool = True) -> None:
        self._blocks: list[BlockCache] = []
        self._roomy = roomy

    @property
    def length(self) -> int:
        """Number of tokens that were decoded so far, padding included: the position offset of the next one."""
        return self._blocks[0].self_attn.length if self._blocks else 0

    @property
    def lengths(self) -> list[int]:
        """Number of tokens in each block's cache: the same in all, if every block extends its own."""
        return [block.self_attn.length for block in self._blocks]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The same, under transformers' name."""
        return self.length

    def __getitem__(self, index: int) -> BlockCache:
        while len(self._blocks) <= index:
            self._blocks.append(BlockCache(roomy=self._roomy))
        return self._blocks[index]

    def __iter__(self) -> Iterator[BlockCache]:
        return iter(list(self._blocks))

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
        """Keep these batch rows of everything, in this order; rows may repeat or be left out.

        Where each row repeats as often (beams), what was read of the sources stays as it is, once for each source.
        """
        copies = 0
        for block in self._blocks:
            before = len(block.self_attn.stored[0]) if block.self_attn.filled else 0
            copies = copies or _copies(rows, before)
            block.self_attn.select(rows)
            if copies > 1:
                block.cross_attn.share(copies)
            else:
                block.cross_attn.select(rows)

    def crop(self, length: int) -> None:
        """Forget the decoded tokens after the first ``length``; the source stays."""
        for block in self._blocks:
            block.self_attn.crop(length)


def _copies(rows: Tensor, before: int) -> int:
    """How often each of so many rows repeats in ``rows``, if all do so alike and in order; else 1."""
    copies = len(rows) // max(before, 1)
    alike = torch.arange(before, device=rows.device).repeat_interleave(copies)
    return copies if copies > 1 and torch.equal(rows, alike) else 1


def _buffer(x: Tensor, capacity: int, rows: Tensor | None = None) -> Tensor:
    """A new buffer for ``capacity`` tokens that begins with those of ``x``, or of some of its rows."""
    batch = len(x) if rows is None else len(rows)
    buffer = torch.empty(batch, x.shape[1], capacity, x.shape[3], dtype=x.dtype, device=x.device)
    beginning = buffer.narrow(2, 0, x.shape[2])
    if rows is None:
        beginning.copy_(x)
    else:
        torch.index_select(x, 0, rows, out=beginning)
    return buffer
