"""What transformers calls our parameters and parts, read off the weight maps: for scripts that look for its names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from torch import nn

from minitransformer.weights import explain

NORM = "norm."
"""In the names of what a norm has learnt, and only there."""
THEIRS = ("norm", "ln")
"""In the names that transformers has for norms."""


class ParameterName(str):
    """The name of a norm's weight or bias, in which what transformers calls it is found as well.

    Many scripts choose the parameters without decay by
    ``any(part in name for part in ["bias", "LayerNorm.weight"])``; it chooses the same here as there.
    """

    elsewhere: _Elsewhere
    ours: str

    def __new__(cls, name: str, elsewhere: _Elsewhere, ours: str) -> ParameterName:
        made = super().__new__(cls, name)
        made.elsewhere, made.ours = elsewhere, ours
        return made

    def __contains__(self, part: str) -> bool:  # type: ignore[override]
        return super().__contains__(part) or (_means_norm(part) and part in self.theirs)

    def endswith(self, suffix: Any, *bounds: Any) -> bool:
        """Whether our name, or of a norm's transformers', ends so."""
        norms = tuple(s for s in ((suffix,) if isinstance(suffix, str) else suffix) if _means_norm(s))
        return super().endswith(suffix, *bounds) or self.theirs.endswith(norms)

    @property
    def theirs(self) -> str:
        """What transformers calls it."""
        return self.elsewhere.names.get(self.ours, "")

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return str, (str(self),)


def _means_norm(part: str) -> bool:
    return any(word in part.lower() for word in THEIRS)


class _Elsewhere:
    """Our names of a model's parameters -> those of its files, made when first needed."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @cached_property
    def names(self) -> dict[str, str]:
        return {ours: line.hf for line in explain(self.model, self.model.WEIGHTS) for ours in line.ours}


def named_as_elsewhere(
    model: nn.Module, prefix: str, pairs: Iterator[tuple[str, nn.Parameter]]
) -> Iterator[tuple[str, nn.Parameter]]:
    """The same pairs, norms with a ``ParameterName``.

    Args:
        model: whose parameters they are.
        prefix: what the caller has put before their names.
        pairs: names and parameters.
    """
    elsewhere = _Elsewhere(model)
    for name, parameter in pairs:
        ours = name.removeprefix(f"{prefix}.") if prefix else name
        yield (ParameterName(name, elsewhere, ours) if NORM in name else name), parameter
