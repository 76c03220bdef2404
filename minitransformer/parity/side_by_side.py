"""Two sides run on the same inputs: operation by operation, and module by module."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from minitransformer.models.common.base import PretrainedModel
from minitransformer.parity.comparison import EPS, TIMES, compare
from minitransformer.parity.findings import UNKNOWN, Comparison, Row
from minitransformer.parity.noise import error
from minitransformer.parity.operations import file_names, model_tensors
from minitransformer.parity.padding import keeping, masks_of, of_side
from minitransformer.parity.recording import numbered
from minitransformer.parity.sides import (
    Side,
    as_ours,
    intermediates,
    modules_outputs,
    names_of_attentions,
    with_weights_of,
)
from minitransformer.parity.traces import ParityError, Trace, read_trace, write_trace


def compare_operations(
    ours: Side, theirs: Side, inputs: Mapping[str, Tensor], names: Mapping[str, str] | None = None
) -> Comparison:
    """The own error of each operation of one side, given the other; see ``divergence``.

    Raises:
        ParityError: neither side says what its operations are.
    """
    if not isinstance(ours, (PretrainedModel, Trace)) and isinstance(theirs, (PretrainedModel, Trace)):
        ours, theirs = theirs, ours
    if isinstance(ours, nn.Module) and not isinstance(ours, PretrainedModel):
        ours = as_ours(ours)
    if not isinstance(ours, (PretrainedModel, Trace)):
        raise ParityError(
            "a function does not say what its operations are: compare it with a model or a trace of this library"
        )
    dump = {name: x for name, x in intermediates(theirs, inputs).items() if "/" not in name}
    with _traced(ours, inputs) as (trace, model):
        weights = _weights(model, theirs)
        names = {**names_of_attentions(trace, dump), **(names or {})}
        found = compare(trace, dump, model, names=names, kind=type(theirs).__name__, weights=weights)
    return found


@contextmanager
def _traced(ours: PretrainedModel | Trace, inputs: Mapping[str, Tensor]) -> Iterator[tuple[Trace, PretrainedModel]]:
    if isinstance(ours, Trace):
        yield ours, ours.load_model()
        return
    with TemporaryDirectory(prefix="minitransformer-") as folder:
        write_trace(ours, inputs, folder)
        yield read_trace(folder), ours


def _weights(model: PretrainedModel, theirs: Side) -> dict[str, Tensor]:
    """The other side's parameters by our names, if it has any that fit."""
    if isinstance(theirs, PretrainedModel):
        return model_tensors(theirs)
    if not isinstance(theirs, nn.Module):
        return {}
    try:
        return model_tensors(with_weights_of(type(model), model.config, theirs))
    except ParityError:
        return {}


def compare_modules(ours: Side, theirs: Side, inputs: Mapping[str, Tensor]) -> Comparison:
    """What modules give that hold the same parameters; see ``divergence``.

    Raises:
        ParityError: a side has no modules.
    """
    model = _model(ours)
    other = _model(theirs)
    with torch.no_grad():
        mine, yours = modules_outputs(model, inputs), modules_outputs(other, inputs)
        worked = next(p.dtype for p in other.parameters() if p.is_floating_point())
        noise = _noise(model, inputs, worked)
    rows: list[Row] = []
    first: Row | None = None
    carried = 0.0
    pairs, masks = _partners(model, other), masks_of(inputs)
    two_sides = any(name.endswith("cross_attn") for name, _ in model.named_modules())
    for name, x in mine.items():
        module, _, call = name.partition("#")
        partners = [numbered(partner, int(call or 0)) for partner in pairs.get(module, [])]
        found = {
            partner: yours[partner] for partner in partners if partner in yours and yours[partner].shape == x.shape
        }
        if not found:
            continue
        axes = "batch ... size" if x.dim() == 3 else "batch heads query key"
        keep = keeping(axes, tuple(x.shape), of_side(module, masks, two_sides=two_sides)) or _all
        errors = {key: error(keep(y), keep(x)) for key, y in found.items()}
        partner = min(errors, key=lambda key: errors[key])
        carried = max(carried, noise.get(name, 0.0), EPS.get(worked, EPS[torch.float32]))
        own = errors[partner]
        wrong = not own <= TIMES * carried
        state = "right" if not wrong else "wrong" if first is None else "inherits"
        rows.append(Row(name, partner, "module", "name", "", own, own, carried, [name], state))
        first = first or (rows[-1] if wrong else None)
    if not rows:
        raise ParityError(f"no module of {type(other).__name__} holds the parameters of one of {type(model).__name__}")
    cause = None
    if first is not None:
        cause = _other_weights(model, other, first) or UNKNOWN
    place = None if first is None else first.name
    return Comparison(rows, place, cause, str(worked).removeprefix("torch."), type(other).__name__)


def _all(x: Tensor) -> Tensor:
    return x


def _model(side: Side) -> nn.Module:
    if isinstance(side, Trace):
        return side.load_model()
    if isinstance(side, nn.Module):
        return side
    raise ParityError("a function has no modules: compare it by level='operation'")


def _noise(model: nn.Module, inputs: Mapping[str, Tensor], worked: torch.dtype) -> dict[str, float]:
    """What rounding makes of each module's output, measured: all of the pass in a lower type, beside float64."""
    low = torch.float32 if worked == torch.float64 else worked
    with torch.no_grad():
        exact, rounded = (modules_outputs(copy.deepcopy(model).to(t), inputs) for t in (torch.float64, low))
    share = EPS.get(worked, EPS[torch.float32]) / EPS.get(low, EPS[torch.float32])
    return {name: error(rounded[name], x) * share for name, x in exact.items()}


def _partners(model: nn.Module, other: nn.Module) -> dict[str, list[str]]:
    """Module of ours -> those of theirs that hold the same parameters."""
    theirs: dict[frozenset[int], list[str]] = {}
    for name, module in other.named_modules():
        held = frozenset(id(p) for p in module.parameters())
        if name and held:
            theirs.setdefault(held, []).append(name)
    known = {n: id(p) for n, p in other.named_parameters(remove_duplicate=False)}
    place = _places(model, known)
    found: dict[frozenset[int], list[str]] = {}
    for name, module in model.named_modules():
        own = {f"{name}.{n}" for n, _ in module.named_parameters(remove_duplicate=False)}
        if own and own <= place.keys():
            held = frozenset(place[n] for n in own)
            if any(True for _ in module.parameters(recurse=False)):  # what is around it may do more
                found[held] = [one for one in found.get(held, []) if not name.startswith(f"{one}.")]
            found.setdefault(held, []).append(name)
    return {name: theirs.get(held, []) for held, names in found.items() for name in names}


def _places(model: nn.Module, known: Mapping[str, int]) -> dict[str, int]:
    """Our name of a parameter -> the identity of theirs."""
    if not isinstance(model, PretrainedModel):  # two of transformers have one set of names
        names = {n: n for n, _ in model.named_parameters(remove_duplicate=False)}
    elif known.keys() >= {n for n, _ in model.named_parameters()}:  # two of ours
        names = {n: n for n, _ in model.named_parameters(remove_duplicate=False)}
    else:
        names = {own: told["name"] for own, told in file_names(model).items()}
    prefixes = {n.partition(".")[0] for n in known}
    result = {}
    for own, name in names.items():
        for candidate in (name, *(f"{prefix}.{name}" for prefix in prefixes), name.partition(".")[2]):
            if candidate in known:
                result[own] = known[candidate]
                break
    return result


def _other_weights(model: nn.Module, other: nn.Module, first: Row) -> str:
    """What differs in the parameters of the first wrong module."""
    if not isinstance(model, PretrainedModel):
        theirs: Mapping[str, Tensor] = dict(other.named_parameters(remove_duplicate=False))
    else:
        theirs = _weights(model, other)
    module = model.get_submodule(first.name.partition("#")[0])
    for name, x in module.named_parameters():
        y = theirs.get(f"{first.name.partition('#')[0]}.{name}")
        if y is not None and y.shape == x.shape and not torch.equal(x, y.to(x.dtype)):
            furthest = float((x.detach().double() - y.double()).abs().max())
            return f"its {name} has other numbers, by up to {furthest:.2g}"
    return ""
