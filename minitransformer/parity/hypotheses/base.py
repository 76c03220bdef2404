"""What hypotheses look at, and the ways in which they change an operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from minitransformer.parity.evaluation import Change, Evaluator

if TYPE_CHECKING:
    from minitransformer.parity.traces import Trace

Hypothesis = tuple[str, Change]
"""A cause in words, and how an operation is then computed."""


@dataclass
class Context:
    """What a hypothesis may look at beside the operation."""

    trace: Trace
    evaluator: Evaluator
    x: Tensor
    """Their result."""
    target: str
    """Whose it is; a later operation, where the dump lacks tensors."""
    worked: torch.dtype = torch.float32
    """The type that they computed in."""
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """Their parameters by our names, where they are known."""


def changing(function: Callable[..., Tensor], **more: Any) -> Change:
    """The function of a kind with other constants."""
    return lambda roles, constants: function(**roles, **{**constants, **more})


def without(function: Callable[..., Tensor], *names: str) -> Change:
    """The function of a kind without some of its roles."""
    return lambda roles, constants: function(
        **{role: x for role, x in roles.items() if role not in names},
        **{name: x for name, x in constants.items() if name not in names},
    )


def replacing(function: Callable[..., Tensor], role: str, change: Callable[[Tensor], Tensor]) -> Change:
    """The function of a kind with one of its roles changed."""
    return lambda roles, constants: function(**{**roles, role: change(roles[role])}, **constants)
