"""With which arguments a layer was made: remembered, so that another kind can be made alike, and saved, and made again.

::

    class Louder(MultiHeadAttention): ...
    model = GPT2Model.from_pretrained(folder, parts={"decoder.blocks.*.attn": like(Louder)})
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def remembers_arguments(cls: type[Module]) -> type[Module]:
    """Let modules of this class (a decorator) know the arguments with which they were made, for ``arguments_of``."""
    init: Any = cls.__init__
    if hasattr(init, "remembers"):
        return cls

    @wraps(init)
    def remembering(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        self.__dict__.setdefault("_made_with", (remembering, args, kwargs))  # a subclass that remembers came first
        init(self, *args, **kwargs)

    remembering.remembers = True  # type: ignore[attr-defined]
    cls.__init__ = remembering  # type: ignore[method-assign]
    return cls


def arguments_of(module: nn.Module) -> dict[str, Any]:
    """The arguments with which a module was made, by name.

    Layers of this library and registered parts remember them; of others they are read from attributes of the same name,
    as PyTorch's own layers have them (``in_features``, ``eps``; ``bias`` is whether there is one).

    Raises:
        TypeError: an argument without a default value is neither remembered nor an attribute, or has no name.
    """
    init: Any = type(module).__init__
    made, args, kwargs = module.__dict__.get("_made_with", (None, (), {}))
    parameters = list(inspect.signature(init).parameters.values())[1:]
    if made is init:
        given = dict(inspect.signature(init).bind(module, *args, **kwargs).arguments)
        named = {p.name: given[p.name] for p in parameters if p.kind in _NAMED and p.name in given}
        for p in parameters:
            if p.kind is p.VAR_KEYWORD:
                named.update(given.get(p.name, {}))
            elif p.name in given and p.kind not in _NAMED:
                raise TypeError(f"{type(module).__name__} was given arguments without names: pass them by name")
        return named
    found: dict[str, Any] = {}
    for p in parameters:
        if p.kind not in _NAMED:
            raise TypeError(f"{type(module).__name__} does not say with which arguments it was made")
        if p.name in ("device", "dtype"):
            continue
        if hasattr(module, p.name):
            value = getattr(module, p.name)
            is_part = isinstance(value, Tensor | nn.Module) or (value is None and p.name == "bias")
            found[p.name] = value is not None if is_part else value
        elif p.default is p.empty:
            raise TypeError(f"{type(module).__name__} does not say with which {p.name} it was made")
    return found


def like(cls: Callable[..., Module], **changes: Any) -> Callable[[nn.Module], Module]:
    """A function that makes a ``cls`` from the arguments of an old module, as many as it takes, but for ``changes``.

    Args:
        cls: the class of the new module.
        **changes: arguments that shall have another value, or that the old module has not.
    """
    if isinstance(cls, type) and not cls.__module__.startswith("torch."):
        remembers_arguments(cls)
    parameters = inspect.signature(cls).parameters.values()
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = {p.name for p in parameters if p.kind in _NAMED}

    def make(old: nn.Module) -> Module:
        given = {name: value for name, value in arguments_of(old).items() if takes_all or name in names}
        return cls(**{**given, **changes})

    return make
