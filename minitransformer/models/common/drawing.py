"""Random numbers for new weights: who draws which, and what a user's own module says about its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import torch
from torch import nn

_under_construction: ContextVar[int] = ContextVar("models under construction", default=0)


def drawn_when_built(init: Callable[..., None]) -> Callable[..., None]:
    """A model's ``__init__`` that also draws its weights, once the outermost model is complete.

    Whatever a model is made of, ``Class(config)`` is then a model that can be trained. A model that is built without
    memory, because a checkpoint brings its weights, draws nothing.
    """

    @wraps(init)
    def building(self: Any, *args: Any, **kwargs: Any) -> None:
        depth = _under_construction.get()
        if "_made_with" not in self.__dict__:
            self.__dict__["_made_with"] = _given(init, self, args, kwargs)
        token = _under_construction.set(depth + 1)
        try:
            init(self, *args, **kwargs)
        finally:
            _under_construction.reset(token)
        if depth == 0:
            self.make_parts()
            if not any(parameter.is_meta for parameter in self.parameters()):
                self.initialise()

    return building


def _given(init: Callable[..., None], model: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """A model's arguments behind the config, by name."""
    signature = inspect.signature(init)
    try:
        given = signature.bind(model, *args, **kwargs).arguments
    except TypeError:  # which the call itself will say
        return {}
    named: dict[str, Any] = {}
    for name, value in list(given.items())[2:]:
        is_rest = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        named.update(value if is_rest else {name: value})
    return named


@torch.no_grad()
def draw_weights(model: nn.Module, std: Callable[[str], float], only: set[str] | None = None) -> None:
    """Draw the weights of ``model`` anew.

    * Projections and tables (``nn.Linear``, ``nn.Embedding``): normal, biases zero, the padding's row zero.
    * A module that has a ``reset_parameters`` of its own, as most of PyTorch's have: asked to draw its parameters, and
      then those of the modules in it.
    * Norms: one, and zero for biases.
    * What else a user's module holds stays as its constructor drew it; parameters that are still without memory are
      normal if they are matrices.

    Args:
        model: its parameters may be on the meta device.
        std: the spread of a projection or table, by its name.
        only: names of the parameters to draw; all if None.
    """
    device = next((p.device for p in model.parameters() if not p.is_meta), torch.device("cpu"))
    dtype = next((p.dtype for p in model.parameters() if not p.is_meta), torch.get_default_dtype())
    whole: list[tuple[str, nn.Module]] = []  # modules that also draw what is in others inside of them
    for module_name, module in model.named_modules():
        if draws_itself(module) and any(True for _ in module.children()):
            whole.append((module_name, module))
        names = {n: f"{module_name}.{n}".lstrip(".") for n, p in module._parameters.items() if p is not None}
        wanted = [n for n, full_name in names.items() if only is None or full_name in only]
        if not wanted:
            continue
        without_memory = set()
        for name in wanted:
            parameter = module._parameters[name]
            assert parameter is not None
            if parameter.is_meta:
                empty = torch.empty_like(parameter, device=device, dtype=dtype)
                module._parameters[name] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                without_memory.add(name)
        if draws_itself(module):
            if not whole or whole[-1][1] is not module:
                with _kept(module, [name for name in names if name not in wanted]):
                    module.reset_parameters()
            continue
        is_table = isinstance(module, nn.Linear | nn.Embedding)
        is_ours = type(module).__module__.startswith("minitransformer.")
        for name in wanted:
            parameter = module._parameters[name]
            assert parameter is not None
            if is_table and name == "weight":
                parameter.normal_(std=std(names[name]))
            elif is_ours or (is_table and name == "bias"):
                parameter.fill_(1.0 if name == "weight" else 0.0)
            elif name in without_memory and parameter.dim() > 1:
                parameter.normal_(std=std(names[name]))
            elif name in without_memory:
                parameter.fill_(1.0 if name == "weight" else 0.0)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None and "weight" in wanted:
            module.weight[module.padding_idx].zero_()
    for module_name, module in reversed(whole):
        names = {n: f"{module_name}.{n}".lstrip(".") for n, _ in module.named_parameters()}
        if any(only is None or full_name in only for full_name in names.values()):
            with _kept(module, [n for n, full_name in names.items() if only is not None and full_name not in only]):
                module.reset_parameters()  # type: ignore[operator]


def draws_itself(module: nn.Module) -> bool:
    """Whether it has a ``reset_parameters``, other than that of a plain projection or table."""
    reset = getattr(type(module), "reset_parameters", None)
    return reset not in (None, nn.Linear.reset_parameters, nn.Embedding.reset_parameters)


@contextmanager
def _kept(module: nn.Module, names: list[str]) -> Iterator[None]:
    """Put these parameters of ``module`` back as they were."""
    parameters = dict(module.named_parameters())
    held = {name: parameters[name].clone() for name in names}
    yield
    for name, before in held.items():
        parameters[name].copy_(before)
