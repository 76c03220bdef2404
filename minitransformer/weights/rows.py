"""The lines of a weight map: what a tensor is called in the file, what it is called here, and how it gets across.

``{i}`` and ``{j}`` stand for numbers, the same on both sides: one row speaks of all layers.
"""

from __future__ import annotations

from dataclasses import dataclass

from minitransformer.weights.ops import Op, Same, Split, Then, Transpose


@dataclass(frozen=True)
class Row:
    """One tensor of the file, and the parameter or parameters that it holds.

    Args:
        hf: name in the file.
        ours: name of our parameter; several, if the file fuses them.
        op: how to get from one to the other.
    """

    hf: str
    ours: str | tuple[str, ...]
    op: Op = Same()

    @property
    def our_names(self) -> tuple[str, ...]:
        """Our names, also when there is only one."""
        return (self.ours,) if isinstance(self.ours, str) else self.ours


@dataclass(frozen=True, init=False)
class Tied:
    """Names in files of what is one tensor. Any one of them may be there; if several are, they must be equal.

    The first name is the one we write. A name whose own row leads to another parameter (an untied model) does not
    belong to the set then.

    With ``{i}`` in the first name there is one set for each number, the same in all names. A placeholder that only
    another name has stands for all of its numbers at once.

    Args:
        *names: full names; the backbone's with the prefix.
        everywhere: write the tensor under each of the names, for readers that do not know of the tie.
    """

    names: tuple[str, ...]
    everywhere: bool

    def __init__(self, *names: str, everywhere: bool = False) -> None:
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "everywhere", everywhere)


@dataclass(frozen=True)
class Ignore:
    """A tensor of the file that we have no use for, and the reason."""

    hf: str
    why: str


@dataclass(frozen=True)
class Legacy:
    """The end of a name in old files, and what it is today."""

    old: str
    new: str


def linear(hf: str, ours: str, *, bias: bool = True, conv1d: bool = False) -> list[Row]:
    """A linear layer; with ``conv1d`` the file stores its weight as (in, out), like GPT-2."""
    weight = Row(f"{hf}.weight", f"{ours}.weight", Transpose() if conv1d else Same())
    return [weight, Row(f"{hf}.bias", f"{ours}.bias")] if bias else [weight]


def norm(hf: str, ours: str, *, bias: bool = True) -> list[Row]:
    """A norm."""
    return linear(hf, ours, bias=bias)


def embedding(hf: str, ours: str) -> list[Row]:
    """An embedding table."""
    return [Row(f"{hf}.weight", f"{ours}.weight")]


def fused_qkv(hf: str, attn: str, *, bias: bool = True, conv1d: bool = False) -> list[Row]:
    """Query, key and value side by side in one layer of the file; ``attn`` is our attention layer."""
    weights, biases = (
        tuple(f"{attn}.{part}.{kind}" for part in ("query", "key", "value")) for kind in ("weight", "bias")
    )
    weight = Row(f"{hf}.weight", weights, Then(Transpose(), Split(3)) if conv1d else Split(3))
    return [weight, Row(f"{hf}.bias", biases, Split(3))] if bias else [weight]
