"""What goes wrong in ports: for each kind of operation, the other ways in which people compute it.

Each hypothesis is tried on the port's own inputs, and believed only if it brings the error down to the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from minitransformer.parity.hypotheses import anywhere, attention, embeddings, projections, tokens
from minitransformer.parity.hypotheses.base import Context, Hypothesis
from minitransformer.parity.operations import Operation

__all__ = ["TABLE", "Context", "Hypothesis", "causes", "general_causes"]

TABLE: dict[str, tuple[Callable[[Operation, Context], Iterator[Hypothesis]], ...]] = {
    "linear": (projections.projections,),
    "attention.heads": (projections.projections, attention.cut_heads),
    "attention.rotated": (attention.turning,),
    "attention.out": (projections.projections, attention.joined_heads),
    "attention.raw_scores": (attention.scaling,),
    "attention.scores": (attention.masking,),
    "attention.pattern": (attention.weighing,),
    "attention.mixed": (attention.mixing,),
    "norm": (tokens.norming, projections.projections),
    "activation": (tokens.bending,),
    "residual": (tokens.adding,),
    "embedding": (embeddings.looking_up,),
    "embedding.sum": (embeddings.summing,),
    "scale": (embeddings.factors,),
    "positions.relative": (attention.distances,),
}
"""Kind, or how kinds begin -> what makes hypotheses."""


def causes(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """The hypotheses for an operation: those of its kind."""
    for start, table in TABLE.items():
        if operation.kind == start or operation.kind.startswith(f"{start}."):
            for make in table:
                yield from make(operation, context)


def general_causes(operation: Operation, context: Context) -> Iterator[Hypothesis]:
    """The hypotheses for operations of any kind, for which those of its own were not true."""
    yield from anywhere.other_weights(operation, context)
    yield from anywhere.other_inputs(operation, context)
    yield from anywhere.dropped(operation, context)
    yield from anywhere.few_bits(operation, context)
