"""What two sides of a comparison compute: the intermediates of a model of transformers, of ours, or of a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import InputError, MinitransformerError
from minitransformer.models.auto import ARCHITECTURES, AutoConfig, architecture
from minitransformer.models.common.base import PretrainedModel
from minitransformer.parity.recording import numbered, record
from minitransformer.parity.traces import ParityError, Trace, read_trace
from minitransformer.parity.twins import running

Side = PretrainedModel | Trace | nn.Module | Callable[..., Any]
"""A model of ours, a trace (or its folder), a model of transformers, or a function of the inputs."""

ATTENTIONS = {
    "attentions": ("decoder.blocks.{i}.attn.pattern", "encoder.blocks.{i}.attn.pattern"),
    "encoder_attentions": ("encoder.blocks.{i}.attn.pattern",),
    "decoder_attentions": ("decoder.blocks.{i}.attn.pattern",),
    "cross_attentions": ("decoder.blocks.{i}.cross_attn.pattern",),
}
"""Fields of transformers' outputs -> ends of our names."""


def as_side(side: Any) -> Side:
    """What is compared; a folder is the trace in it.

    Raises:
        ParityError: it is none of the things that can be compared.
    """
    if isinstance(side, (str, Path)):
        return read_trace(side)
    if isinstance(side, (Trace, nn.Module)) or callable(side):
        return side
    raise ParityError(
        f"a {type(side).__name__} cannot be compared: pass a model of this library or of transformers, a trace or its "
        "folder, or a function of the inputs"
    )


def check_comparable(ours: Any, theirs: Any) -> None:
    """See that both are in evaluation mode and of one type; of a function nothing is known.

    Raises:
        InputError: they are not.
    """
    kinds = []
    for name, side in (("ours", ours), ("the reference", theirs)):
        if getattr(side, "training", False):
            raise InputError(f"{name} is in training mode, where dropout makes every pass another one: call .eval()")
        if isinstance(side, nn.Module):
            kinds.append({p.dtype for p in side.parameters() if p.is_floating_point()})
    if len(kinds) == 2 and kinds[0] != kinds[1]:
        said = [" and ".join(sorted(str(kind).removeprefix("torch.") for kind in of)) for of in kinds]
        raise InputError(f"ours is in {said[0]}, the reference in {said[1]}: load both with the same dtype")


@contextmanager
def readable_attention(reference: Any) -> Iterator[None]:
    """Let a model of transformers give its attention maps, which only its eager attention does."""
    now = getattr(getattr(reference, "config", None), "_attn_implementation", "eager")
    if now in (None, "eager") or isinstance(reference, PretrainedModel):  # ours always gives them
        yield
        return
    reference.set_attn_implementation("eager")
    try:
        yield
    finally:
        reference.set_attn_implementation(now)


def intermediates(side: Side, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Everything that a side computes, by its own names, in the order of its forward pass.

    Raises:
        InputError: a model is in training mode.
        ParityError: a function gives no tensors.
    """
    if isinstance(side, Trace):
        return side.tensors
    with torch.no_grad():
        if isinstance(side, PretrainedModel):
            found: dict[str, Tensor] = {}
            recording = record(side, inputs, found.__setitem__)
            return {name: found[name] for name in recording.order}
        if isinstance(side, nn.Module):
            return modules_outputs(side, inputs)
        return _given(side(**inputs))


def _given(result: Any) -> dict[str, Tensor]:
    """The tensors of what a function returns."""
    if isinstance(result, Tensor):
        result = {"logits": result}
    if isinstance(result, (tuple, list)):
        result = {f"outputs.{i}": x for i, x in enumerate(result)}
    found = {
        str(name): torch.as_tensor(x)
        for name, x in dict(result).items()
        if isinstance(x, Tensor) or hasattr(x, "dtype")
    }
    if not found:
        raise ParityError("the function gives no tensors: let it return them by name, as in {'logits': x}")
    return found


def modules_outputs(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What each module of a PyTorch model gives, and its attention maps, if it is one of transformers.

    The second output of a module that is called twice has ``#1`` behind its name.
    """
    found: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            x = next(iter(output.values()), None) if isinstance(output, Mapping) else output
            x = x[0] if isinstance(x, (tuple, list)) and x else x
            call = calls.get(name, 0)
            calls[name] = call + 1
            if isinstance(x, Tensor):
                found[numbered(name, call)] = x.detach().clone()  # what comes after may write into it

        return keep

    with ExitStack() as stack:
        stack.enter_context(readable_attention(model))
        for name, module in model.named_modules():
            if name:
                stack.callback(module.register_forward_hook(hook(name)).remove)
        asked = {"output_attentions": True} if hasattr(model, "config") else {}
        stack.enter_context(running(model))
        output = model(**inputs, **asked)
    for field in ATTENTIONS:
        maps = getattr(output, field, None)
        for i, x in enumerate(maps if isinstance(maps, (tuple, list)) else ()):
            if isinstance(x, Tensor):
                found[f"{field}.{i}"] = x.detach()
    for field in ("logits", "last_hidden_state", "pooler_output", "start_logits", "end_logits"):
        if isinstance(getattr(output, field, None), Tensor):
            found.setdefault(f"outputs.{field}", getattr(output, field).detach())
    return found


def names_of_attentions(trace: Trace, dump: Mapping[str, Tensor]) -> dict[str, str]:
    """The places of attention maps in a trace: their name -> ours."""
    known = [operation.name for operation in trace.operations]
    result = {}
    for theirs in dump:
        field, _, number = theirs.partition(".")
        for ending in ATTENTIONS.get(field, ()):
            ours = [name for name in known if f".{name}".endswith(f".{ending.replace('{i}', number)}")]
            if len(ours) == 1:
                result[theirs] = ours[0]
    return result


def as_ours(reference: nn.Module) -> PretrainedModel:
    """A model of this library with the parameters of one of transformers.

    Raises:
        ParityError: we have no such class, or its parameters do not fit.
    """
    name, config = type(reference).__name__, getattr(reference, "config", None)
    model_type = getattr(config, "model_type", None)
    if config is None or model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ParityError(f"{name} is no model of an architecture that is known here ({known})")
    heads = architecture(model_type).heads
    kind = next((model for model in heads.values() if model.__name__ == name), None)
    if kind is None:
        raise ParityError(f"{model_type} has no class {name} here: {', '.join(m.__name__ for m in heads.values())}")
    return with_weights_of(kind, AutoConfig.from_dict({**config.to_dict(), "model_type": model_type}), reference)


def with_weights_of(kind: type[PretrainedModel], config: Any, reference: nn.Module) -> PretrainedModel:
    """A model of this class with the parameters of another, which has the checkpoint's names for them.

    Raises:
        ParityError: they do not fit.
    """
    dtype = next((p.dtype for p in reference.parameters() if p.is_floating_point()), torch.float32)
    state = reference.state_dict()
    try:
        return kind.from_pretrained(None, config=config, state_dict=state, dtype=dtype).eval()
    except MinitransformerError as error:
        raise ParityError(
            f"the parameters of {type(reference).__name__} do not fit {kind.__name__}: {error}"
        ) from error
