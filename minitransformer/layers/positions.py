"""Where a token stands: position ids from a mask, learned tables, sinusoids, distances in buckets."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from minitransformer.layers.taps import Tap


def token_positions(
    length: int,
    attention_mask: Shaped[Tensor, "batch *axes total"] | None = None,
    *,
    offset: int = 0,
    device: torch.device | str | None = None,
) -> Int[Tensor, "#batch {length}"]:
    """Positions of the last ``length`` tokens, counted from 0 at the first token that is not padding.

    Args:
        length: number of tokens to place.
        attention_mask: 0/1 for all tokens so far, cached ones included; padding on either side. Padding itself gets
            some position that exists; nothing attends to it. One that speaks of pairs of tokens tells no padding.
        offset: number of cached tokens, when there is no mask.
        device: where the ids are wanted, when there is no mask.
    """
    if attention_mask is None or attention_mask.dim() != 2:
        return torch.arange(offset, offset + length, device=device)[None]
    counted = attention_mask.long().cumsum(dim=-1) - 1
    return counted.clamp(min=0)[:, -length:]


def positions_from_padding(
    ids: Int[Tensor, "batch token"], padding: int, *, offset: int = 0
) -> Int[Tensor, "batch token"]:
    """Positions as fairseq counts them: tokens one by one from ``padding + 1`` on, padding stands at ``padding``.

    Args:
        ids: the tokens to place.
        padding: id of the padding token.
        offset: number of cached tokens.
    """
    tokens = ids.ne(padding)
    return padding + (tokens.cumsum(dim=1) + offset) * tokens


class LearnedPositions(nn.Embedding):
    """A learned vector for each position.

    Args:
        num_positions: how many positions there are.
        hidden_size: width of a vector.
        offset: rows at the head of the table that no position uses (BART keeps 2, a relic of its padding id).
        padding_idx: the position of padding, whose vector is not trained.
    """

    def __init__(
        self, num_positions: int, hidden_size: int, offset: int = 0, *, padding_idx: int | None = None
    ) -> None:
        super().__init__(num_positions + offset, hidden_size, padding_idx=padding_idx)
        self.offset = offset

    @property
    def num_positions(self) -> int:
        """How many positions there are."""
        return self.num_embeddings - self.offset

    def forward(self, ids: Int[Tensor, "batch token"]) -> Float[Tensor, "batch token hidden_size"]:
        """The vectors of these positions."""
        return super().forward(ids + self.offset)


def sinusoids(num_positions: int, hidden_size: int, *, interleaved: bool) -> Float[Tensor, "position hidden_size"]:
    """The fixed table of section 3.5 of https://arxiv.org/abs/1706.03762, in float64.

    Args:
        num_positions: number of rows.
        hidden_size: number of columns.
        interleaved: sine and cosine alternate, as in the paper; else all sines stand before all cosines, as in most
            implementations. The two are the same up to the order of columns.
    """
    exponents = torch.arange(0, hidden_size, 2, dtype=torch.float64, device="cpu") / hidden_size
    angles = torch.arange(num_positions, dtype=torch.float64, device="cpu")[:, None] / 10000.0**exponents
    sines, cosines = angles.sin(), angles.cos()[:, : hidden_size // 2]
    if not interleaved:
        return torch.cat([sines, cosines], dim=1)
    table = torch.empty(num_positions, hidden_size, dtype=torch.float64, device="cpu")
    table[:, 0::2], table[:, 1::2] = sines, cosines
    return table


class SinusoidalPositions(nn.Module):
    """A fixed vector for each position; not a parameter and not in any checkpoint.

    Args:
        num_positions: how many positions there are.
        hidden_size: width of a vector.
        interleaved: order of columns, see ``sinusoids``.
    """

    table: Tensor

    def __init__(self, num_positions: int, hidden_size: int, *, interleaved: bool) -> None:
        super().__init__()
        table = sinusoids(num_positions, hidden_size, interleaved=interleaved)
        self.register_buffer("table", table.to(torch.get_default_dtype()), persistent=False)

    @property
    def num_positions(self) -> int:
        """How many positions there are."""
        return len(self.table)

    def forward(self, ids: Int[Tensor, "batch token"]) -> Float[Tensor, "batch token hidden_size"]:
        """The vectors of these positions."""
        return self.table[ids]


class FairseqPositions(SinusoidalPositions):
    """fairseq's table: sines before cosines, in float32, other wavelengths, and nothing at the padding's place.

    Args:
        num_positions: how many positions there are.
        hidden_size: width of a vector.
        padding: the place of padding; the first token's is the next one (``positions_from_padding``).
    """

    def __init__(self, num_positions: int, hidden_size: int, *, padding: int) -> None:
        super().__init__(num_positions + padding + 1, hidden_size, interleaved=False)
        numbers = partial(torch.arange, dtype=torch.float32, device="cpu")
        half = hidden_size // 2
        speeds = torch.exp(numbers(half) * -(math.log(10000) / max(half - 1, 1)))
        angles = numbers(len(self.table))[:, None] * speeds[None]
        table = F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, hidden_size % 2))
        table[padding] = 0
        self.table = table


def relative_buckets(
    distances: Int[Tensor, "query key"], num_buckets: int, max_distance: int, *, bidirectional: bool
) -> Int[Tensor, "query key"]:
    """Sort distances into buckets: one for each short distance, then ever wider ones (T5, section 2.1).

    Of 32 buckets for one direction, 16 hold the distances 0 to 15; 16 more share those up to ``max_distance``, so that
    the ratio of a bucket's ends is the same for all; the last one takes everything beyond.

    Args:
        distances: position of the key less position of the query.
        num_buckets: how many buckets there are.
        max_distance: where the last bucket begins to take all.
        bidirectional: half of the buckets are for keys behind the query; else those count as distance 0, because a
            causal mask hides them.
    """
    behind = distances > 0
    if bidirectional:
        num_buckets //= 2
        steps = distances.abs()
    else:
        steps = (-distances).clamp(min=0)
    exact = num_buckets // 2
    # In float32 and in this order, like the reference: a distance on the edge of a bucket must fall on the same side.
    share = torch.log(steps.float() / exact) / math.log(max_distance / exact)
    wide = exact + (share * (num_buckets - exact)).clamp(min=0).long()
    buckets = torch.where(steps < exact, steps, wide.clamp(max=num_buckets - 1))
    return buckets + behind * num_buckets if bidirectional else buckets


class RelativePositions(nn.Module):
    """A learned bias on the attention scores, for each head and each bucket of distances (T5).

    Args:
        num_buckets: how many buckets there are.
        num_heads: how many heads there are.
        max_distance: where the last bucket begins to take all.
        bidirectional: whether keys behind the query have buckets of their own (encoders), see ``relative_buckets``.
    """

    def __init__(self, num_buckets: int, num_heads: int, *, max_distance: int, bidirectional: bool) -> None:
        super().__init__()
        self.bias = nn.Embedding(num_buckets, num_heads)
        self.max_distance, self.bidirectional = max_distance, bidirectional
        self.out = Tap("1 heads query key")

    def forward(self, num_queries: int, num_keys: int) -> Float[Tensor, "1 heads query key"]:
        """The bias for these numbers of tokens; the last query is the last key, as in ``causal_mask``."""
        device, num_buckets = self.bias.weight.device, self.bias.num_embeddings
        queries = torch.arange(num_keys - num_queries, num_keys, device=device)
        distances = torch.arange(num_keys, device=device)[None] - queries[:, None]
        buckets = relative_buckets(distances, num_buckets, self.max_distance, bidirectional=self.bidirectional)
        return self.out(self.bias(buckets).permute(2, 0, 1)[None])
