"""Faulty ports: how often the first wrong operation is named, and its cause.

A port is every operation of a small model of each architecture, computed again in float32 from its own results, with
one fault in one place drawn at random: from the catalogue of ``minitransformer/parity/hypotheses.py``, or from a list
that is in no catalogue, where the cause must be "unknown". What changes an operation by less than four times what is
called wrong (32 times the noise of rounding) is drawn again. Faults of the catalogue are made by the catalogue's own
functions: the rates tell that places are found and causes told apart, not that every mistake of the world is known.

    python benchmarks/faulty_ports.py --faults 300 --foreign 50
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests"))

from models.twins import TWINS  # noqa: E402
from models.twins.twin import inputs_for  # noqa: E402
from oracle.ports import port, traced  # noqa: E402
from oracle.subjects import small  # noqa: E402

from minitransformer.parity.comparison import TIMES, compare  # noqa: E402
from minitransformer.parity.evaluation import Change, Evaluator  # noqa: E402
from minitransformer.parity.findings import UNKNOWN  # noqa: E402
from minitransformer.parity.hypotheses import Context, causes, general_causes  # noqa: E402
from minitransformer.parity.kinds import compute  # noqa: E402
from minitransformer.parity.noise import error  # noqa: E402
from minitransformer.parity.operations import Operation, model_tensors  # noqa: E402
from minitransformer.parity.traces import Trace  # noqa: E402


def _after(change: Callable[[Tensor], Tensor]) -> Callable[[Operation], Change]:
    return lambda operation: lambda roles, constants: change(compute(operation.kind, roles, constants))


FOREIGN: dict[str, Callable[[Operation], Change]] = {
    "one per cent too large": _after(lambda x: x * 1.01),
    "a constant is added": _after(lambda x: x + 0.01 * x.abs().clamp(max=1e3).mean()),
    "numbers are moved by one place": _after(lambda x: x.roll(1, -1)),
    "tokens are moved by one place": _after(lambda x: x.roll(1, -2)),
    "rounded to 5 bits": _after(lambda x: (x * 16).round() / 16),
    "cut off": _after(lambda x: x.clamp(-0.3, 0.3)),
    "half of the signs are turned": _after(lambda x: x * torch.tensor([1.0, -1.0]).repeat(x.shape[-1])[: x.shape[-1]]),
    "the first number is lost": _after(lambda x: torch.cat([torch.full_like(x[..., :1], 0.123), x[..., 1:]], -1)),
    "sorted": _after(lambda x: x.sort(-1).values),
    "bent once more": _after(lambda x: x - 0.05 * torch.sin(3 * x.clamp(-1e3, 1e3))),
}
"""Faults that no hypothesis speaks of."""


@dataclass
class Tally:
    """How many ports were tried, and what was said of them."""

    tried: int = 0
    operation: int = 0
    cause: int = 0


def subjects(folder: Path) -> list[tuple[str, Trace, Any]]:
    """A small model of each class of the first head of each architecture, traced."""
    seen: dict[str, tuple[str, Trace, Any]] = {}
    for twin in TWINS:
        kind = twin.name.partition("For")[0].partition("Model")[0].partition("LMHead")[0].partition("MTModel")[0]
        if kind not in seen and twin.head not in ("", "ForTextEncoding"):
            model = small(twin)
            trace = traced(model, inputs_for(twin, [7, 4], "right")[0], folder / str(twin))
            seen[kind] = (str(twin), trace, model)
    return list(seen.values())


def catalogue(trace: Trace, model: Any, right: Mapping[str, Tensor], operation: Operation) -> list[tuple[str, Change]]:
    """The faults of the catalogue that an operation can have."""
    given = {name: trace.tensors[name] for name in trace.manifest["given"]}
    exact = {name: x.double() for name, x in right.items()}
    evaluator = Evaluator(trace.operations, given, model_tensors(model), exact)
    context = Context(trace, evaluator, exact[operation.name], operation.name)
    faults = [*causes(operation, context), *general_causes(operation, context)]
    return [fault for fault in faults if not fault[0].startswith("dropout")]


def is_fault(operation: Operation, wrong: Tensor, right: Tensor, mask: Tensor | None) -> bool:
    """Whether a change is more than rounding."""
    return wrong.shape == right.shape and TIMES * 4 * operation.noise["float32"] < error(wrong, right, mask) < 1e9


def lower(change: Change) -> Change:
    """A change that computes in float64 gives what the port would have, rounded."""
    return lambda roles, constants: change(
        {role: x.double() if x.is_floating_point() else x for role, x in roles.items()}, constants
    )


def run(faults: int, foreign: int, seed: int = 0, *, verbose: bool = False) -> tuple[Tally, Tally]:
    """Try so many ports.

    Returns:
        Of faults in the catalogue, and of foreign ones.
    """
    draw = random.Random(seed)
    known, unknown = Tally(), Tally()
    with TemporaryDirectory() as folder:
        models = subjects(Path(folder))
        rights = {name: port(trace, model) for name, trace, model in models}
        while known.tried < faults or unknown.tried < foreign:
            of_catalogue = known.tried < faults
            name, trace, model = draw.choice(models)
            operation = draw.choice([op for op in trace.operations if op.kind != "identity"])
            right = rights[name]
            if of_catalogue:
                cause, change = draw.choice(catalogue(trace, model, right, operation))
                change = lower(change)
            else:
                cause = draw.choice(list(FOREIGN))
                change = FOREIGN[cause](operation)
            try:
                theirs = port(trace, model, fault=(operation.name, change))
            except (RuntimeError, IndexError, ValueError, KeyError):
                continue
            mask = trace.tensors[operation.inputs["mask"]] if "mask" in operation.inputs else None
            if not is_fault(operation, theirs[operation.name], right[operation.name], mask):
                continue
            found = compare(trace, theirs, model)
            tally = known if of_catalogue else unknown
            tally.tried += 1
            named = found.first == operation.name
            told = str(found.cause).split(" or ")
            because = named and (cause in str(found.cause) if of_catalogue else told == [UNKNOWN])
            tally.operation += named
            tally.cause += because
            if verbose and not because:
                print(f"{name}: {operation.name}: {cause}\n    found {found.first}: {found.cause}")
    return known, unknown


def main() -> None:
    """Print two rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--foreign", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    known, unknown = run(arguments.faults, arguments.foreign, arguments.seed, verbose=True)
    print("| faults | tried | operation named | cause as it should be |\n|---|---|---|---|")
    for title, tally in (("of the catalogue", known), ("of no catalogue", unknown)):
        print(f"| {title} | {tally.tried} | {tally.operation} | {tally.cause} |")


if __name__ == "__main__":
    main()
