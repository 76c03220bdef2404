"""Parts of a user's own in a model: put in before the weights are loaded, saved by name, and made again.

A file says a part's registered name and the plain arguments with which it was made, never code or where code is::

    "minitransformer": {"parts": {"decoder.blocks.0.attn": {"part": "alibi", "arguments": {"hidden_size": 64, ...}}}}

Which class a name stands for is said by the program (``register_part``). Their parameters lie in the same file as the
model's: under the file's names where the weight map has rows for them, else under their own.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import nn

from minitransformer.errors import ArgumentError, ConfigError, RegistrationError, did_you_mean
from minitransformer.layers import ACTIVATIONS, Tap, arguments_of, remembers_arguments
from minitransformer.models.common.drawing import draws_itself
from minitransformer.registers import register, unknown
from minitransformer.weights import BACKBONE, without_memory

Make = Callable[[nn.Module], nn.Module]

PARTS: dict[str, type[nn.Module]] = {}
"""Registered name -> class."""

LARGEST, LONGEST = 2**24, 1000
"""Bounds of what a file may give as an argument: whole numbers, and letters or members of a list."""


def register_part(name: str, cls: type[nn.Module]) -> type[nn.Module]:
    """Let models be saved and loaded that have parts of this class.

    Args:
        name: what config.json calls it; the same wherever the model is to be loaded.
        cls: the class. It is made again with the arguments that its parts were made with: numbers, texts, booleans,
            None, lists of these, and activation functions of this library.

    Raises:
        RegistrationError: another class has that name, or this is none.
    """
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise RegistrationError(f"the part {name!r:.60} must be a class of modules, not {cls!r:.100}")
    register("part", PARTS, name, cls)
    if not cls.__module__.startswith("torch."):  # whose own layers say it by their attributes
        remembers_arguments(cls)
    return cls


def name_of(module: nn.Module) -> str | None:
    """The name under which a module's class is registered."""
    return next((name for name, cls in PARTS.items() if type(module) is cls), None)


# Putting in -----------------------------------------------------------------------------------------------


def put_parts(
    model: nn.Module,
    parts: Mapping[str, Make],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Put new modules in the place of old ones; ``from_pretrained(parts=...)`` does it before weights are loaded.

    Args:
        model: changed in place.
        parts: shell pattern of modules' names, which may begin at any module, as for ``trace`` -> what makes the new
            module from the old one. A later pattern sees what earlier ones have made. Taps are no parts.
        device: where the new modules' tensors go; by default where the model's are.
        dtype: of the new modules' tensors; by default that of the model's.

    Raises:
        ArgumentError: a pattern matches no module, or what it stands for makes none.
    """
    first = next((p for p in model.parameters() if not p.is_meta), torch.empty(0))
    device, dtype = first.device if device is None else device, first.dtype if dtype is None else dtype
    if not isinstance(parts, Mapping) or not all(isinstance(k, str) and callable(v) for k, v in parts.items()):
        raise ArgumentError(
            "parts must map patterns of modules' names to functions that make the new module from the old one, "
            f"not {parts!r:.200}"
        )
    for pattern, make in parts.items():
        names = {name: module for name, module in _places(model) if matches(name, pattern)}
        if not names:
            known = {re.sub(r"\.\d+(?=\.|$)", ".*", name.removeprefix(BACKBONE)) for name, _ in _places(model)}
            raise ArgumentError(
                f"no part of {type(model).__name__} matches {pattern!r}.{did_you_mean(pattern, known)} "
                "print(model) shows all parts"
            )
        made: dict[int, nn.Module] = {}
        done: list[str] = []
        for name, old in names.items():
            if name.startswith(tuple(done)):  # gone with what was replaced
                continue
            new = made.get(id(old)) or make(old)
            if not isinstance(new, nn.Module):
                raise ArgumentError(f"parts[{pattern!r}] gives {type(new).__name__} for {name}: it must give a module")
            made[id(old)] = new
            if new is not old:
                done.append(name + ".")
                put_in(model, name, new, device=device, dtype=dtype)


def put_in(
    model: nn.Module,
    name: str,
    new: nn.Module,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """Put ``new`` in the place of the module of that name, wherever else that one stands too.

    Parameters that others share with the old module they share with the new one, if that has them.
    """
    old = model.get_submodule(name)
    new.__dict__["_is_part"] = True
    for owner in list(model.modules()):
        for child, held in owner._modules.items():
            if held is old:
                owner._modules[child] = new
    for module in new.modules():  # what it has of the old one has no memory yet
        for tensors in (module._parameters, module._buffers):
            for leaf, x in tensors.items():
                if x is not None and not x.is_meta:
                    kind = dtype if x.is_floating_point() else None
                    moved: Any = x.detach().to(device, kind)
                    tensors[leaf] = nn.Parameter(moved, x.requires_grad) if isinstance(x, nn.Parameter) else moved
    ours = dict(new.named_parameters())
    shared = {id(p): ours[leaf] for leaf, p in old.named_parameters() if leaf in ours and ours[leaf].shape == p.shape}
    for module in model.modules():
        for leaf, p in module._parameters.items():
            if id(p) in shared:
                module._parameters[leaf] = shared[id(p)]


def new_parameter_names(model: nn.Module, patterns: str | Iterable[str]) -> list[str]:
    """The parameters that files may lack, by patterns.

    Raises:
        ArgumentError: a pattern matches no parameter.
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    found: dict[str, None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matching = [name for name in names if matches(name, pattern)]
        if not matching:
            known = {re.sub(r"\.\d+(?=\.)", ".*", name.removeprefix(BACKBONE)) for name in names}
            raise ArgumentError(
                f"new_parameters: no parameter of {type(model).__name__} matches {pattern!r}."
                f"{did_you_mean(pattern, known)}"
            )
        found.update(dict.fromkeys(matching))
    return list(found)


def matches(name: str, pattern: str) -> bool:
    """Whether a module's name fits a shell pattern, which may begin at any module."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, "*." + pattern)


def _places(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules(remove_duplicate=False):
        if name and not isinstance(module, Tap):
            yield name, module


def own_places(model: nn.Module) -> list[str]:
    """Names of the modules whose parameters go by their own names where the weight map has no row for them.

    These are parts; and everything, "", in a model whose class is not one of this library's: it declares what it has.
    """
    if not type(model).__module__.startswith("minitransformer."):
        return [""]
    return [
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if module is not model and ("_is_part" in module.__dict__ or name_of(module) is not None)
    ]


def draw_as_constructed(model: nn.Module, missing: Iterable[str], build: Callable[[], nn.Module]) -> set[str]:
    """Give those of the missing parameters, which have no memory yet, that nothing but a constructor draws its values.

    Args:
        model: changed in place.
        missing: names of parameters.
        build: makes the model once more, with memory; called only if need be.

    Returns:
        The other missing parameters.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    missing = {name for name in missing if name in parameters}  # optional parts may have gone
    themselves = [place + "." for place, module in model.named_modules() if place and draws_itself(module)]

    def is_drawn(name: str) -> bool:
        owner = model.get_submodule(name.rpartition(".")[0])
        is_known = isinstance(owner, nn.Linear | nn.Embedding) or type(owner).__module__.startswith("minitransformer.")
        return is_known or not parameters[name].is_meta or name.startswith(tuple(themselves))

    left = {name for name in missing if is_drawn(name)}
    if wanted := missing - left:
        first = next((p for p in model.parameters() if not p.is_meta), None)
        fresh = build()
        for name in wanted:
            owner, _, leaf = name.rpartition(".")
            value = fresh.get_parameter(name).detach()
            value = value if first is None else value.to(first.device, first.dtype)
            model.get_submodule(owner)._parameters[leaf] = nn.Parameter(value, parameters[name].requires_grad)
    return left


# Made again -----------------------------------------------------------------------------------------------


def make_parts(model: Any) -> None:
    """Put the parts into a new model that its config names.

    Raises:
        ConfigError: one is not registered, or cannot be made or put in; in one sentence that names it.
    """
    for place, said in parts_in(model.config).items():
        if place.startswith("head.") and not is_own_head(model):
            continue
        inside = "backbone" in model._modules and not place.startswith("head.")
        name = BACKBONE + place if inside else place
        first = name.removeprefix(BACKBONE).partition(".")[0]
        owner = model._modules["backbone"] if inside else model
        if owner._modules.get(first) is None:
            continue  # a part of the head, or of the decoder, in a model that goes without
        try:
            model.get_submodule(name)
        except AttributeError as error:
            known = [known.removeprefix(BACKBONE) for known, _ in _places(model)]
            raise ConfigError(
                f"config.json has a part at {place!r:.100}, and {type(model).__name__} has no such place."
                f"{did_you_mean(place, known)}"
            ) from error
        if (other := said.get("shared_with")) is not None:
            put_in(model, name, model.get_submodule(BACKBONE + other if inside else other))
        else:
            put_in(model, name, _made(said["part"], said["arguments"], place))


def is_own_head(model: Any) -> bool:
    """Whether the config was saved with a model of this class, whose head is then the one it speaks of."""
    named = model.config.architectures
    return not named or any(parent.__name__ in named for parent in type(model).__mro__)


def parts_in(config: Any) -> dict[str, dict[str, Any]]:
    """What a config says of parts, looked at before it is believed.

    Raises:
        ConfigError: it says it in another form than ``save_pretrained`` does.
    """
    said = config.minitransformer or {}
    parts = said.get("parts", {})
    unheard = sorted(set(said) - {"parts"})
    if unheard or not isinstance(parts, dict):
        what = f"{unheard[0]!r:.60}" if unheard else "parts that are no object"
        raise ConfigError(f'"minitransformer" in config.json has {what}: a newer version may know it')
    for place, one in parts.items():
        new = isinstance(one, dict) and set(one) == {"part", "arguments"} and isinstance(one["arguments"], dict)
        shared = isinstance(one, dict) and set(one) == {"shared_with"} and one["shared_with"] in parts
        if not (new and all(_is_plain(value) for value in one["arguments"].values())) and not shared:
            raise ConfigError(
                f"the part at {place!r:.100} in config.json must be a name and plain arguments: {one!r:.200}"
            )
    return parts


def _made(name: Any, arguments: Mapping[str, Any], place: str) -> nn.Module:
    cls = PARTS.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ConfigError(
            f"config.json has the part {name!r:.100} at {place}, and {unknown('part', name, PARTS)} Import the module "
            "that has it and calls register_part, before the model is loaded (on the command line: --import MODULE)"
        )
    try:
        check_memory(cls, arguments)
        with torch.device("cpu"):
            return cls(**arguments)
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
        raise ConfigError(
            f"the part {name!r} at {place} cannot be made with the arguments in config.json: {error}"
        ) from error


# Saved, or refused ----------------------------------------------------------------------------------------


def described_parts(model: Any) -> dict[str, Any] | None:
    """What config.json is to say of a model's parts; None if it has none.

    Raises:
        RegistrationError: the model differs from what its class makes of its config, and no registered part explains
            it: what is saved would come back as another model.
    """
    parts, changes = _compared(model)
    if changes:
        more = f" (and {len(changes) - 3} more)" if len(changes) > 3 else ""
        raise RegistrationError(
            f"{type(model).__name__} was changed after it was built, and its files could not say so: "
            f"{'; '.join(changes[:3])}{more}. Register the class, register_part('a-name', Class), before its modules "
            f"are made, or make the change in a subclass of {type(model).__name__}"
        )
    described: dict[str, Any] = {}
    first: dict[int, str] = {}
    for place, module in parts.items():
        place = place.removeprefix(BACKBONE)
        if id(module) in first:
            described[place] = {"shared_with": first[id(module)]}
            continue
        first[id(module)] = place
        name = name_of(module)
        described[place] = {"part": name, "arguments": _plain_arguments(module, str(name), place)}
    _try_to_make(described, parts)
    return {"parts": described} if described else None


def check_savable(model: Any) -> None:
    """Raise a RegistrationError if a model could not be saved whole; before it is trained, say."""
    described_parts(model)


def _compared(model: Any) -> tuple[dict[str, nn.Module], list[str]]:
    """Registered parts by name, and other differences in words, to what the model's class makes of its config."""
    arguments = {
        name: value
        for name, value in model.__dict__.get("_made_with", {}).items()
        if not _is_optional_maker(model, name, value)
    }
    with without_memory():
        plain = type(model)(model.config.replace(minitransformer=None), **arguments)
    expected = dict(plain.named_modules(remove_duplicate=False))
    parts: dict[str, nn.Module] = {}
    changes: list[str] = []

    def compare(name: str, module: nn.Module) -> None:
        other = expected.get(name)
        difference = "is new" if other is None else _difference(module, other)
        if difference and other is not None and name_of(module) is not None:
            parts[name] = module
        elif difference:
            changes.append(f"{name or 'the model'} ({type(module).__name__}) {difference}")
        else:
            for child, held in module._modules.items():
                if held is not None:
                    compare(f"{name}.{child}".lstrip("."), held)

    compare("", model)
    return parts, changes


def _difference(module: nn.Module, other: nn.Module) -> str:
    """What a module has that another, which should be the same, has not; in words."""
    if type(module) is not type(other):
        return f"is no {type(other).__name__}"
    forward = module.__dict__.get("forward")
    if forward is not None and not getattr(forward, "recomputes", False):
        return "has another forward"
    shapes = [{n: tuple(p.shape) for n, p in m._parameters.items() if p is not None} for m in (module, other)]
    for name, shape in shapes[0].items():
        if name not in shapes[1]:
            return f"has a new parameter {name}"
        if shape != shapes[1][name]:
            return f"has {name} of the shape {shape}, by the config {shapes[1][name]}"
    if type(module).__module__.startswith("minitransformer.") and "config" not in vars(module):
        for name, value in vars(other).items():
            if _is_setting(name, value) and module.__dict__.get(name, value) != value:
                return f"has another {name}"
    return ""


def _is_setting(name: str, value: Any) -> bool:
    """Whether an attribute decides what a layer computes."""
    if name.startswith("_") or name in ("training", "dropout"):
        return False
    if isinstance(value, FunctionType):
        return "<locals>" not in value.__qualname__
    return isinstance(value, bool | int | float | str | BuiltinFunctionType)


def _is_optional_maker(model: Any, name: str, value: Any) -> bool:
    """Whether a model's argument makes parts (``block=``): a class or a function in the place of the usual one."""
    return callable(value) and not isinstance(value, nn.Module)


def _plain_arguments(module: nn.Module, name: str, place: str) -> dict[str, Any]:
    try:
        arguments = arguments_of(module)
    except TypeError as error:
        raise RegistrationError(
            f"the part {name!r} at {place} cannot be saved: {error}. Call register_part before modules are made"
        ) from error
    functions = {function: word for word, function in reversed(ACTIVATIONS.items())}
    plain: dict[str, Any] = {}
    for key, value in arguments.items():
        if isinstance(value, FunctionType | BuiltinFunctionType):
            value = functions.get(value, value)
        plain[key] = value = list(value) if isinstance(value, tuple) else value
        if not _is_plain(value):
            raise RegistrationError(
                f"the part {name!r} at {place} was made with {key}={_shown(value)}, and a file holds numbers, texts, "
                "booleans, None and lists of these: let the class make the rest of them itself"
            )
    return plain


def _is_plain(value: Any) -> bool:
    """Whether it is what a file may hold as an argument."""
    if isinstance(value, list):
        return len(value) <= LONGEST and all(_is_plain(one) for one in value)
    if isinstance(value, int):
        return abs(value) <= LARGEST
    if isinstance(value, str):
        return len(value) <= LONGEST
    return value is None or (isinstance(value, float) and math.isfinite(value))


def check_memory(cls: type[nn.Module], arguments: Mapping[str, Any]) -> None:
    """Raise a ValueError if the machine's memory could not hold such a part, which a few bytes ask for."""
    with without_memory():
        needed = sum(4 * parameter.numel() for parameter in cls(**arguments).parameters())
    if hasattr(os, "sysconf") and needed > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise ValueError(f"it would take {needed:,} bytes")


def _shown(value: Any) -> str:
    """A value in short; modules and tensors by their kind alone."""
    return f"<{type(value).__name__}>" if isinstance(value, nn.Module | torch.Tensor) else f"{value!r:.100}"


def _try_to_make(described: Mapping[str, Any], parts: Mapping[str, nn.Module]) -> None:
    """See that each part made again is the same: its parameters' shapes, and the numbers of buffers that are kept."""
    modules = {name.removeprefix(BACKBONE): module for name, module in parts.items()}
    done: list[Any] = []
    for place, said in described.items():
        module = modules[place]
        if "shared_with" in said or (said in done and not _kept_buffers(module)):
            continue
        done.append(said)
        try:
            with torch.random.fork_rng(devices=[]):
                again = PARTS[said["part"]](**said["arguments"])
        except Exception as error:
            raise RegistrationError(
                f"the part {said['part']!r} at {place} cannot be made again with its arguments ({said['arguments']}): "
                f"{error}. Call register_part before modules are made, and let them take arguments by name"
            ) from error
        shapes = [{name: tuple(p.shape) for name, p in m.named_parameters()} for m in (module, again)]
        buffers = [_kept_buffers(m) for m in (module, again)]
        same = buffers[0].keys() == buffers[1].keys() and all(
            torch.equal(x.cpu(), buffers[1][name].to(x.dtype)) for name, x in buffers[0].items()
        )
        if shapes[0] != shapes[1] or not same:
            what = "buffers" if shapes[0] == shapes[1] else "parameters"
            raise RegistrationError(
                f"the part {said['part']!r} at {place} has other {what} than one that is made with its arguments "
                f"({said['arguments']}): only arguments and parameters are saved"
            )


def _kept_buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    """Buffers that belong to the state of a module."""
    kept = module.state_dict().keys()
    return {name: buffer for name, buffer in module.named_buffers() if name in kept}
