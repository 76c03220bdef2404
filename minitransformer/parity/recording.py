"""One forward pass, recorded: what passed every tap, and what operations read beside that (ids, masks, distances).

Tensors go to a sink one by one as they pass, so that a long pass needs no more memory than a short one.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.layers import Rotary, trace
from minitransformer.layers.rotary import positions_of
from minitransformer.models.common.heads import MeanPooler

Sink = Callable[[str, Tensor], None]


@dataclass
class Recording:
    """What is known of a pass without its tensors."""

    order: list[str] = field(default_factory=list)
    """Names of the tensors that passed taps, as they came."""
    extras: list[str] = field(default_factory=list)
    """Names of the tensors that were recorded beside taps."""
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)
    """Name of an extra -> that under which the same tensor was recorded before."""
    read_by_heads: dict[str, str | list[int]] = field(default_factory=dict)
    """Head -> "stream" or "pooled", or the token of each text that it reads."""
    output: Any = None


def numbered(name: str, call: int) -> str:
    """The name of what passed a tap at its ``call``-th call, counted from 0."""
    return f"{name}#{call}" if call else name


def record(model: nn.Module, inputs: Mapping[str, Tensor], sink: Sink) -> Recording:
    """Run a model once and send everything that passes its taps to ``sink``.

    Args:
        model: in evaluation mode.
        inputs: what it is called with.
        sink: called with name and tensor, in the order of the forward pass.

    Raises:
        InputError: the model is in training mode.
    """
    if model.training:
        raise InputError("the model is in training mode, where dropout makes every pass another one: call .eval()")
    recorder = _Recorder(sink)
    with recorder.listening(model), trace(model, edit={"*": recorder.tap}, strict=False):
        recorder.recording.output = model(**inputs)
    return recorder.recording


class _Recorder:
    def __init__(self, sink: Sink) -> None:
        self.sink, self.recording = sink, Recording()
        self.calls: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        self.stream: Tensor | None = None
        self.pooled: Tensor | None = None

    def tap(self, x: Tensor, name: str) -> Tensor:
        call = self.calls.get(name, 0)
        self.calls[name] = call + 1
        parent, _, leaf = name.rpartition(".")
        if leaf == "scores":
            mask = x > torch.finfo(x.dtype).min
            if not bool(mask.all()):
                self.extra(numbered(f"{parent}.mask", call), mask[:, :1] if _same_along(mask, 1) else mask)
        elif leaf == "output":
            self.stream = x
        elif parent.endswith("pooler") and leaf == "out":
            self.pooled = x
        name = numbered(name, call)
        self.recording.order.append(name)
        self.recording.shapes[name] = tuple(x.shape)
        self.sink(name, x)
        return x

    def extra(self, name: str, x: Tensor) -> None:
        """Record what passes no tap, once where the same tensor comes again and again."""
        digest = hashlib.sha256(x.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
        key = f"{name.rpartition('.')[2].partition('#')[0]} {tuple(x.shape)} {x.dtype} {digest}"
        if key in self.digests:
            self.recording.alias[name] = self.digests[key]
            return
        self.digests[key] = name
        self.recording.extras.append(name)
        self.recording.shapes[name] = tuple(x.shape)
        self.sink(name, x)

    @contextmanager
    def listening(self, model: nn.Module) -> Iterator[None]:
        """Note what modules are called with, where no tap says it."""
        handles = []
        for name, module in model.named_modules():
            if hasattr(module, "logits"):
                handles.append(module.register_forward_pre_hook(self._head(name)))
            elif hasattr(module, "words") and hasattr(module, "output"):
                handles.append(module.register_forward_pre_hook(self._embeddings(name, module), with_kwargs=True))
            elif isinstance(module, MeanPooler):
                handles.append(module.register_forward_pre_hook(self._counted(name)))
            elif isinstance(module, Rotary):
                handles.append(module.register_forward_pre_hook(self._positions(name)))
            elif hasattr(module, "r") and hasattr(module, "distance"):
                handles.append(module.register_forward_pre_hook(self._distances(name), with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _embeddings(self, name: str, module: nn.Module) -> Callable[..., None]:
        names = list(inspect.signature(module.forward).parameters)

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = dict(zip(names, args, strict=False)) | kwargs
            if "ids" in given:  # an adaptive embedding's
                given["input_ids"] = given.pop("ids")
            call = self.calls.get(f"{name}.words", 0)
            for part, ids in given.items():
                if isinstance(ids, Tensor):
                    self.extra(numbered(f"{name}.{part}", call), ids)

        return hook

    def _positions(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            query, _, view = args
            self.extra(numbered(f"{name}.positions", self.calls.get(f"{name}.q", 0)), positions_of(view, query))

        return hook

    def _counted(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            if len(args) > 1 and isinstance(args[1], Tensor) and args[1].dim() == 2:
                self.extra(numbered(f"{name}.counted", self.calls.get(f"{name}.out", 0)), args[1])

        return hook

    def _distances(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            for view in (*args, *kwargs.values()):
                for part in ("remembered", "distance", "sinusoids"):
                    if isinstance(getattr(view, part, None), Tensor):
                        self.extra(f"{name}.{part}", getattr(view, part))

        return hook

    def _head(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            (x,) = args
            pooled, stream = self.pooled, self.stream
            if pooled is not None and x.shape == pooled.shape and torch.equal(x, pooled):
                self.recording.read_by_heads[name] = "pooled"
            elif stream is not None and x.dim() == 2:
                same = (stream == x[:, None]).all(-1)
                self.recording.read_by_heads[name] = same.int().argmax(1).tolist()
            else:
                self.recording.read_by_heads[name] = "stream"

        return hook


def _same_along(x: Tensor, axis: int) -> bool:
    return bool((x == x.narrow(axis, 0, 1)).all())
