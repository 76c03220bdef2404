"""Where two models part that are run side by side: output by output, module by module, operation by operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.parity.findings import Comparison
from minitransformer.parity.side_by_side import compare_modules, compare_operations
from minitransformer.parity.sides import as_side, check_comparable, readable_attention
from minitransformer.parity.traces import Trace

Inputs = Mapping[str, Tensor] | None
Names = Mapping[str, str] | None
FLOAT64_TOLERANCE = 1e-10
"""Largest difference of a float64 twin that counts as rounding."""

FORWARD_PASS = (
    ("encoder_hidden_states", "encoder_attentions"),
    ("encoder_last_hidden_state",),
    ("decoder_hidden_states", "decoder_attentions", "cross_attentions"),
    ("hidden_states", "attentions"),
    ("mems",),
    ("last_hidden_state",),
    ("pooler_output",),
    *((field,) for field in "start_logits end_logits logits prediction_logits sop_logits".split()),
)
"""Fields of outputs in the order in which they are computed; those of one stack block by block."""
OUTPUT_FIELDS = tuple(field for fields in FORWARD_PASS for field in fields)


@dataclass(frozen=True)
class Difference:
    """How far apart two models are at one place."""

    name: str
    largest: float
    typical: float
    """Root mean square of the reference's values, for scale."""

    def __str__(self) -> str:
        return f"{self.name:<32} largest difference {self.largest:9.2e}   values around {self.typical:.2g}"


@overload
def divergence(
    ours: Any, theirs: Any, inputs: Inputs = ..., *, keep: Tensor | None = ..., level: Literal["output"]
) -> Iterator[Difference]: ...


@overload
def divergence(
    ours: Any, theirs: Any, inputs: Inputs = ..., *, level: Literal["operation", "module"], names: Names = ...
) -> Comparison: ...


@overload
def divergence(
    ours: Any, theirs: Any, inputs: Inputs = ..., *, keep: Tensor | None = ..., names: Names = ...
) -> Any: ...


def divergence(
    ours: Any,
    theirs: Any,
    inputs: Inputs = None,
    *,
    keep: Tensor | None = None,
    level: Literal["operation", "module", "output"] | None = None,
    names: Names = None,
) -> Iterator[Difference] | Comparison:
    """Where two sides part on the same inputs, in the order of the forward pass.

    Each side is a model of this library, a model of transformers, a trace or its folder, or a function that takes the
    inputs by name and gives tensors by name. A model of transformers with another attention than the readable one is
    given that one meanwhile.

    - ``"operation"``: the comparison of ``compare``, with the own and the inherited error of each operation, the first
      wrong one and its cause.
    - ``"module"``: what each module gives, and that which holds the same parameters on the other side, through the
      weight map. The first wrong module is the smallest that is.
    - ``"output"``, of two models: block by block what comes into it, its attention maps, what comes into the next one.

    Args:
        ours: the side that is right: a model of this library, or a trace, if there is one.
        theirs: the other.
        inputs: arguments of both; those of the trace, if there is one.
        keep: (batch, token), true at the tokens to compare; what stands at padding is nobody's business. For outputs.
        level: by default outputs of two models, and operations otherwise.
        names: their name -> ours, with ``{i}`` for numbers, where names do not tell.

    Raises:
        InputError: a model is in training mode, where dropout makes every pass another one; or their numbers are of
            different types; or there are no inputs.
        ParityError: a side cannot be compared, or is of an architecture that is not known.
        AssertionError: of outputs, one lacks one, or has one of another shape.
    """
    ours, theirs = as_side(ours), as_side(theirs)
    check_comparable(ours, theirs)
    models = isinstance(ours, nn.Module) and isinstance(theirs, nn.Module)
    level = level or ("output" if models else "operation")
    if level not in ("operation", "module", "output"):
        raise InputError(f"level must be 'operation', 'module' or 'output', not {level!r}")
    inputs = _inputs(ours, theirs, inputs)
    if level == "output":
        if not models:
            raise InputError("level='output' is for two models: say level='operation' or level='module'")
        return _outputs(ours, theirs, inputs, keep)
    if level == "module":
        return compare_modules(ours, theirs, inputs)
    return compare_operations(ours, theirs, inputs, names)


def _inputs(ours: Any, theirs: Any, inputs: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
    """Those that are given, or those of a trace.

    Raises:
        InputError: there are none, or a trace is of others.
    """
    for side in (ours, theirs):
        if isinstance(side, Trace):
            own = side.inputs
            if inputs is None:
                inputs = own
            for name in own.keys() & inputs.keys():
                if not torch.equal(own[name], inputs[name].to(own[name].dtype)):
                    raise InputError(f"the trace {side.folder} is of other {name}: pass those, or none")
    if inputs is None:
        raise InputError("two models are compared on inputs: pass them, as in {'input_ids': ids}")
    return inputs


def _outputs(ours: Any, reference: Any, inputs: Mapping[str, Tensor], keep: Tensor | None) -> Iterator[Difference]:
    asked = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad(), readable_attention(reference), readable_attention(ours):
        a, b = ours(**inputs, **asked), reference(**inputs, **asked)
    for fields in FORWARD_PASS:
        pairs = {field: list(_pairs(field, a, b)) for field in fields}
        for i in range(max(map(len, pairs.values()))):
            for field, found in pairs.items():
                if i < len(found):
                    name = f"{field}[{i}]" if isinstance(getattr(a, field), tuple) else field
                    yield _difference(name, field, *found[i], keep)


def _pairs(field: str, a: Any, b: Any) -> Iterator[tuple[Tensor, Tensor]]:
    mine: Any = getattr(a, field, None)
    theirs: Any = getattr(b, field, None)
    if isinstance(theirs, tuple) and not theirs:  # what transformers 5 says where there is nothing
        theirs = None
    if mine is None and theirs is None:
        return
    if mine is None or theirs is None:
        raise AssertionError(f"{field} is missing in {'ours' if mine is None else 'the reference'}")
    yield from zip(mine, theirs, strict=True) if isinstance(mine, tuple) else [(mine, theirs)]


def _difference(name: str, field: str, x: Tensor, y: Tensor, keep: Tensor | None) -> Difference:
    if x.shape != y.shape:
        raise AssertionError(f"{name} has shape {tuple(x.shape)}, the reference {tuple(y.shape)}")
    if keep is not None:
        x, y = _kept(field, x, keep), _kept(field, y, keep)
    return Difference(name, float((x - y).abs().max()), float(y.pow(2).mean().sqrt()))


def assert_same(
    ours: Any,
    reference: Any,
    inputs: Mapping[str, Tensor],
    *,
    keep: Tensor | None = None,
    atol: float = FLOAT64_TOLERANCE,
) -> None:
    """Raise an AssertionError that names the first place where two models differ by more than ``atol``."""
    check_comparable(ours, reference)
    compared = list(_outputs(ours, reference, inputs, keep))  # of a function too, that answers as a model does
    assert compared, "nothing to compare"
    for difference in compared:
        assert difference.largest <= atol, f"first divergence: {difference}"


def _kept(field: str, x: Tensor, keep: Tensor) -> Tensor:
    """The part of ``x`` that belongs to kept tokens."""
    keep = keep.bool()
    if "attentions" in field and x.shape[-2] == keep.shape[1]:
        return x.transpose(1, 2)[keep]  # (kept tokens, heads, keys)
    if x.dim() >= 2 and x.shape[:2] == keep.shape:
        return x[keep]
    return x
