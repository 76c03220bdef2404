"""Our operations on a port's tensors: what each of theirs should be, given those before it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from minitransformer.parity.kinds import compute
from minitransformer.parity.noise import lowered
from minitransformer.parity.operations import Operation

Change = Callable[[dict[str, Tensor], dict[str, Any]], Tensor]
"""Another way to compute an operation, from its roles and constants."""

RECENT = 2**28
"""Bytes of tensors that are kept to be used again."""


class Recent:
    """Tensors that were used last, as many as fit; the others are read or computed anew."""

    def __init__(self, room: int = RECENT) -> None:
        self.room, self._kept = room, OrderedDict[Hashable, Tensor]()

    def get(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """The tensor of this key."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        x = make()
        self._kept[key] = x
        used = sum(kept.nbytes for kept in self._kept.values())
        while used > self.room and self._kept:
            used -= self._kept.popitem(last=False)[1].nbytes
        return x


class Evaluator:
    """Computes operations from their tensors where there are any, and from what comes before those where not.

    Args:
        operations: of the trace.
        given: ids, masks and the like, by name.
        parameters: ours, by name.
        theirs: their tensors in our layout, by our name.
    """

    def __init__(
        self,
        operations: list[Operation],
        given: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor],
        theirs: Mapping[str, Tensor],
    ) -> None:
        self.by_name = {operation.name: operation for operation in operations}
        self.given, self.parameters, self.theirs = given, parameters, theirs
        self._exact = Recent()

    def value(self, name: str) -> Tensor:
        """Their tensor, or what ours is where they wrote none."""
        if name in self.theirs:
            return self.theirs[name]
        return self.compute(name) if name in self.by_name else self.widened(self.given[name])

    def compute(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """What an operation gives for their inputs, in float64 or with all in another type."""
        operation = self.by_name[name]
        return self._exact.get(
            (name, dtype), lambda: compute(operation.kind, self.roles(operation, dtype), operation.constants)
        )

    def roles(self, operation: Operation, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Inputs and parameters of an operation, by role."""
        result: dict[str, Tensor] = {}
        for role, name in operation.inputs.items():
            if dtype is None or name in self.theirs or name not in self.by_name:
                x = self.value(name)
                result[role] = x if dtype is None else lowered(x, dtype)
            else:
                result[role] = self.compute(name, dtype)
        for role, name in operation.parameters.items():
            x = self.parameters[name]
            result[role] = self.widened(x) if dtype is None else lowered(x, dtype)
        return result

    def span(self, name: str) -> list[Operation]:
        """The operations that lie between their tensors and this one, itself the last."""
        seen: dict[str, Operation] = {}

        def visit(name: str) -> None:
            for source in self.by_name[name].inputs.values():
                if source in self.by_name and source not in self.theirs and source not in seen:
                    visit(source)
            seen[name] = self.by_name[name]

        visit(name)
        return list(seen.values())

    def changed(self, name: str, operation: Operation, change: Change) -> Tensor:
        """What ``name`` would be, were ``operation`` of its span computed in another way."""
        done: dict[str, Tensor] = {}

        def value(source: str) -> Tensor:
            if source in self.theirs or source not in self.by_name:
                return self.value(source)
            if source not in done:
                done[source] = run(self.by_name[source])
            return done[source]

        def run(one: Operation) -> Tensor:
            roles = {role: value(source) for role, source in one.inputs.items()}
            roles |= {role: self.widened(self.parameters[own]) for role, own in one.parameters.items()}
            if one.name == operation.name:
                return change(roles, dict(one.constants))
            return compute(one.kind, roles, one.constants)

        return run(self.by_name[name])

    @staticmethod
    def widened(x: Tensor) -> Tensor:
        """In float64, if it is made of floating-point numbers."""
        return x.double() if x.is_floating_point() else x
