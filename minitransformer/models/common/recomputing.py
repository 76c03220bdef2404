"""The blocks of a model: the pieces in which its memory is saved, by recomputing them or by sharing them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The blocks of all stacks of the model, each of them once."""
    found = [getattr(module, "blocks", None) for module in model.modules()]
    stacks = [blocks for blocks in found if isinstance(blocks, nn.ModuleList)]
    return list(dict.fromkeys(block for blocks in stacks for block in blocks))


@contextmanager
def recomputed(blocks: list[nn.Module]) -> Iterator[None]:
    """Inside, the backward pass runs each block again instead of remembering what happened in it.

    Memory for one block's intermediates instead of all, for about a third more time ("Training Deep Nets with
    Sublinear Memory Cost", https://arxiv.org/abs/1604.06174). The blocks do not know of it: each one's ``forward`` is
    hidden behind another one, so names of parameters stay as they are. Dropout draws the same numbers twice.
    """
    for block in blocks:
        block.forward = recompute(block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own shows again


def recompute(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose intermediates the backward pass computes again."""

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    run.recomputes = True  # type: ignore[attr-defined]
    return run
