"""The one room in which it is decided how attention and linear layers are computed.

Each function has a readable form, which says what is meant, and quicker ones, which are tested against it:

* ``attention``: ``attend`` in attention.py while somebody watches scores or pattern, else one fused kernel of PyTorch's
  that never stores them, and that knows causality by name.
* ``linear``: the layer itself; within ``fast_linear()`` oneDNN's product in float32 on CPUs, whose sums run in another
  order (results differ in the last bits) and which reads a matrix for a few tokens in about half the time. ``generate``
  and pipelines work within it; a model called by itself does not, so that its numbers are bit by bit PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from minitransformer.layers.taps import Tap
from minitransformer.layers.view import View

_fast = ContextVar("fast_linear", default=False)

_WORTHWHILE = 2**17  # weights; below, calling oneDNN costs more than it saves
_AVAILABLE = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def attention(
    readable: Callable[..., Tensor],
    query: Float[Tensor, "batch heads query head_size"],
    key: Float[Tensor, "sources kv_heads key head_size"],
    value: Float[Tensor, "sources kv_heads key head_size"],
    view: View,
    *,
    temperature: float,
    dropout: float,
    sharing: int = 1,
    taps: tuple[Tap, Tap, Tap],
) -> Float[Tensor, "batch heads query head_size"]:
    """The function of ``readable`` (``attention.attend``), in whichever form suits."""
    plainly = any(tap.watched for tap in taps) or gradient_is_slow(query) or gradient_is_wrong(query, view)
    plainly = plainly or is_transformed(view.bias)
    if have_sources(query, key) and (plainly or not is_of_sources_alone(view)):
        key, value = (x.repeat_interleave(len(query) // len(x), dim=0) for x in (key, value))
    if plainly:
        return readable(query, key, value, view, temperature=temperature, dropout=dropout, sharing=sharing, taps=taps)
    return attend_fused(query, key, value, view, temperature=temperature, dropout=dropout, sharing=sharing)


def attend_fused(
    query: Float[Tensor, "batch heads query head_size"],
    key: Float[Tensor, "sources kv_heads key head_size"],
    value: Float[Tensor, "sources kv_heads key head_size"],
    view: View,
    *,
    temperature: float,
    dropout: float = 0.0,
    sharing: int = 1,
) -> Float[Tensor, "batch heads query head_size"]:
    """The function of ``attend`` in one fused kernel; scores and pattern never exist as tensors."""
    if have_sources(query, key):
        return attend_shared(query, key, value, view, temperature=temperature, dropout=dropout, sharing=sharing)
    T, S, hidden, causal = query.shape[2], key.shape[2], None, False
    by_name = view.is_causal_alone and is_wide(view.window, S)
    if by_name and aligned(T, S, view):
        causal = True
    elif not (by_name and T == 1):
        hidden = view.hidden(T, S, query.dtype, query.device)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=hidden,
        dropout_p=dropout,
        is_causal=causal,
        scale=1 / temperature,
        enable_gqa=sharing > 1,
    )


def have_sources(query: Tensor, key: Tensor) -> bool:
    """Whether several rows of queries attend to one row of keys. ``len`` would make sizes constants in an export."""
    return torch._C._get_tracing_state() is None and key.shape[0] < query.shape[0]


def is_wide(window: int | None, num_keys: int) -> bool:
    """Whether a window hides nothing of so many tokens. A recorded model must be right for other numbers of them."""
    if window is None:
        return True
    recorded = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    return not recorded and num_keys <= window


def attend_shared(
    query: Float[Tensor, "batch heads query head_size"],
    key: Float[Tensor, "sources kv_heads key head_size"],
    value: Float[Tensor, "sources kv_heads key head_size"],
    view: View,
    *,
    temperature: float,
    dropout: float = 0.0,
    sharing: int = 1,
) -> Float[Tensor, "batch heads query head_size"]:
    """The same where neighbouring rows (beams) attend to one source: its queries are those of all of them."""
    (R, H, T, K), B = query.shape, len(key)
    hidden = view.hidden(T, key.shape[2], query.dtype, query.device)  # (R or 1, 1, 1, S): the source's padding
    if hidden is not None and len(hidden) > 1:
        hidden = hidden[:: R // B]
    together = query.view(B, R // B, H, T, K).transpose(1, 2).reshape(B, H, -1, K)
    mixed = F.scaled_dot_product_attention(
        together,
        key,
        value,
        attn_mask=hidden,
        dropout_p=dropout,
        scale=1 / temperature,
        enable_gqa=sharing > 1,
    )
    return mixed.view(B, H, R // B, T, K).transpose(1, 2).reshape(R, H, T, K)


def is_of_sources_alone(view: View) -> bool:
    """Whether all that is hidden is padding of the keys, the same for each query."""
    mask = view.attention_mask
    other = (view.bias, view.mask, view.window)
    return not view.causal and all(x is None for x in other) and (mask is None or mask.dim() == 2)


def aligned(num_queries: int, num_keys: int, view: View) -> bool:
    """Whether the first query is the first key, as PyTorch's kernels take it that know causality by name.

    To ``torch.jit.trace`` sizes are tensors, which it cannot compare.
    """
    return num_queries == num_keys if torch._C._get_tracing_state() is None else view.cache is None


def gradient_is_slow(query: Tensor) -> bool:
    """Whether the way back through the fused kernel takes longer than through the readable function.

    It does in half precision on CPUs: training in bfloat16 is 1.6 times as quick without it.
    """
    return query.requires_grad and query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16)


def gradient_is_wrong(query: Tensor, view: View) -> bool:
    """Whether rows that may attend to nothing may count: the way back through the fused kernel is wrong for these.

    Padding that lies farther behind a text than the window reaches is such a row, and some losses take padding in.
    """
    return query.requires_grad and view.window is not None and (view.attention_mask, view.mask) != (None, None)


def is_transformed(bias: Tensor | None) -> bool:
    """Whether ``torch.func`` differentiates the bias, which PyTorch's kernel for CPUs cannot see."""
    if bias is None or torch.compiler.is_compiling():
        return False
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(bias))


def linear(layer: nn.Module, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
    """``layer(x)``; within ``fast_linear()`` by oneDNN, where that is the quicker."""
    if type(layer) is nn.Linear and not torch.compiler.is_compiling() and _fast.get() and onednn_fits(x, layer):
        return linear_onednn(x, layer.weight, layer.bias)
    result: Tensor = layer(x)
    return result


@contextmanager
def fast_linear() -> Iterator[None]:
    """Within this context linear layers on the CPU may round otherwise, and are quicker."""
    token = _fast.set(True)
    try:
        yield
    finally:
        _fast.reset(token)


def linear_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear`` by oneDNN: float32 on the CPU, without gradients."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return result


def onednn_fits(x: Tensor, layer: nn.Linear) -> bool:
    """Whether oneDNN can compute this product, is worth its call, and nobody has hung a hook onto the layer."""
    weight = layer.weight
    return (
        _AVAILABLE
        and weight.numel() >= _WORTHWHILE
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
        and weight.is_contiguous()
        and not torch.is_grad_enabled()
        and not (layer._forward_hooks or layer._forward_pre_hooks)
    )
