"""Parts that are wrong in one thing each: name of the check that must find it -> the part."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.layers import FeedForward, MultiHeadAttention, Tap, View


class Nothing(MultiHeadAttention):
    """Gives a tuple."""

    def forward(self, x: Tensor, view: View | None = None) -> Any:
        return super().forward(x, view), None


class Counts(MultiHeadAttention):
    """Counts its calls."""

    calls = 0

    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        self.calls += 1
        return super().forward(x, view)


class Remembers(MultiHeadAttention):
    """Keeps the keys of the last call beside the cache."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.last: list[Tensor] = []

    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        self.last.append(x.mean(dim=1, keepdim=True))
        return super().forward(x, view) + self.last[-2:][0] * 0.1


class AlwaysDrops(MultiHeadAttention):
    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        return super().forward(F.dropout(x, 0.1, training=True), view)


class InFloat32(MultiHeadAttention):
    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        return super().forward(x, view).float()


class OnTheCPU(MultiHeadAttention):
    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        return super().forward(x, view) * torch.linspace(1, 2, x.shape[-1], device="cpu").to(x.dtype)


class OffByOne(MultiHeadAttention):
    """Sees one token of the future."""

    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        view = view or View()
        if not view.causal or view.cache is not None:
            return super().forward(x, view)
        T = x.shape[1]
        shifted = torch.ones(T, T, dtype=torch.bool, device=x.device).tril(1)[None, None]
        return super().forward(x, view.changed(causal=False, mask=shifted))


class PaddingSeen(MultiHeadAttention):
    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        return super().forward(x, (view or View()).changed(attention_mask=None))


class SoftlyHidden(MultiHeadAttention):
    """Takes a mere ten off the scores of what is hidden."""

    def mix(self, x: Tensor, view: View) -> Tensor:
        q, k, v = self.project(x, view)
        scores = self.raw_scores(q @ k.mT / self.temperature)
        allowed = view.allowed(q.shape[2], k.shape[2], x.device)
        scores = self.scores(scores if allowed is None else scores - 10 * (~allowed).to(scores.dtype))
        return self.mixed(self.pattern(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2)


class OverTheBatch(MultiHeadAttention):
    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        return super().forward(x + 0.1 * x.mean(dim=0, keepdim=True), view)


class CountsPadding(MultiHeadAttention):
    """Places are counted from the left, padding included."""

    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        start = 0 if view is None or view.cache is None else view.cache.length
        places = torch.arange(start, start + x.shape[1], device=x.device)
        return super().forward(x + places.to(x.dtype)[None, :, None].sin(), view)


class Forgets(MultiHeadAttention):
    """Does not know of the cache."""

    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        return super().forward(x, (view or View()).changed(cache=None))


class TopLeft(MultiHeadAttention):
    """Takes the first query for the first key, however many keys were cached."""

    def mix(self, x: Tensor, view: View) -> Tensor:
        q, k, v = self.project(x, view)
        if view.causal and q.shape[2] < k.shape[2]:
            view = view.changed(causal=False, mask=torch.ones(q.shape[2], k.shape[2]).tril().bool()[None, None])
        scores = self.scores(view.applied(self.raw_scores(q @ k.mT / self.temperature)))
        return self.mixed(self.pattern(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2)


class Detached(MultiHeadAttention):
    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        return super().forward(x + x.detach(), view)


class WithoutTaps(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.inner = MultiHeadAttention(hidden_size, num_heads)

    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        return self.inner(x, view)


class OtherWhenWatched(MultiHeadAttention):
    def mix(self, x: Tensor, view: View) -> Tensor:
        return super().mix(x, view) * (1.5 if self.pattern.watched else 1.0)


class BesideTheCache(MultiHeadAttention):
    """Keeps what it has read on the cache, where no beam takes it along."""

    def mix(self, x: Tensor, view: View) -> Tensor:
        read = x
        if view.cache is not None:
            before = view.cache.__dict__.get("read", x[:, :0])
            view.cache.__dict__["read"] = read = torch.cat([before, x], dim=1)
        allowed = view.allowed(x.shape[1], read.shape[1], x.device)
        seen = x.new_ones(1, x.shape[1], read.shape[1]) if allowed is None else allowed[:, 0].to(x.dtype)
        return super().mix(x, view) + 0.1 * seen @ read


class LooksAtNumbers(MultiHeadAttention):
    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        result = super().forward(x, view)
        return result if bool((x > -1e9).all()) else -result


class DrawnAnew(MultiHeadAttention):
    """What its constructor draws is in no file."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("directions", torch.randn(self.query.in_features), persistent=False)

    directions: Tensor

    def forward(self, x: Tensor, view: View | None = None) -> Tensor:
        return super().forward(x * self.directions, view)


class Mixes(FeedForward):
    """A feed-forward network that looks at the token before."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + F.pad(x, (0, 0, 1, 0))[:, :-1])


class Twice(nn.Linear):
    """A layer whose gradient is half of what it should be."""

    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x)
        return result + result.detach()


class Blind(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.down, self.out = nn.Linear(hidden_size, hidden_size), Tap("batch token hidden_size")

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.down(x))


WRONG: list[tuple[str, Any]] = [
    ("call", Nothing),
    ("state", Counts),
    ("state", Remembers),
    ("deterministic", AlwaysDrops),
    ("dtype", InFloat32),
    ("device", OnTheCPU),
    ("hidden keys", OffByOne),
    ("hidden keys", PaddingSeen),
    ("hidden keys", SoftlyHidden),
    ("hidden keys", Mixes),
    ("batch", OverTheBatch),
    ("padding", CountsPadding),
    ("cache", Forgets),
    ("cache", TopLeft),
    ("gradients", Detached),
    ("gradients", Twice),
    ("taps", WithoutTaps),
    ("taps", OtherWhenWatched),
    ("taps", Blind),
    ("generate", BesideTheCache),
    ("export", LooksAtNumbers),
    ("saved", DrawnAnew),
]
