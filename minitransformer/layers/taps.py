"""Taps: every intermediate tensor passes through a named identity module, where it can be read or replaced.

A layer places a ``Tap`` at each value worth a name (``self.pattern = Tap("batch heads query key")``) and sends the
value through it. A tap has no parameters and does nothing until somebody watches it::

    with trace(model, "encoder.blocks.*.attn.pattern") as t:
        model(**inputs)
    t["encoder.blocks.0.attn.pattern"]        # (batch, heads, query, key)

    with trace(model, edit={"decoder.blocks.3.output": lambda x: torch.zeros_like(x)}):
        model(**inputs)                       # block 3 silenced

Watching is PyTorch's own forward hook, removed when the ``with`` block ends, so that a model carries no state of ours.
A trace is about the passes that run inside of its block: threads and tasks that use the same model meanwhile neither
see it nor are seen. An edit holds for what backward computes again inside of the block (gradient checkpointing); if it
is computed again after the block, without the edit, that is an error. The idea of identity "hook points" is
TransformerLens'.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import TraceError, did_you_mean

Edit = Callable[[Tensor], Tensor] | Callable[[Tensor, str], Tensor]
"""From the passing tensor, and perhaps the tap's name, to the tensor that goes on."""


class Tap(nn.Module):
    """An identity at a named place.

    Args:
        shape: names of the tensor's axes, for readers and for ``tap_names``.
    """

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.shape = shape

    def __call__(self, x: Tensor) -> Tensor:
        """``x``; an ``nn.Module``'s call takes long for an identity, and nothing hangs on most taps."""
        if self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks:
            x = super().__call__(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return x

    @property
    def watched(self) -> bool:
        """Whether a trace that this thread is in (or any other hook) listens here."""
        return bool(self._forward_hooks) and any(getattr(h, "is_on", True) for h in list(self._forward_hooks.values()))

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: all but the hooks of traces, which are about this module alone."""
        hooks = ((i, hook) for i, hook in self._forward_hooks.items() if not isinstance(hook, _Hook | _Guard))
        return {**self.__dict__, "_forward_hooks": type(self._forward_hooks)(hooks)}

    def extra_repr(self) -> str:
        return self.shape


def tap_names(model: nn.Module, pattern: str = "*") -> dict[str, str]:
    """The taps of ``model`` that match ``pattern``: name -> names of its axes, in the order of the forward pass.

    A pattern is a shell pattern and may begin at any module, so that ``encoder.blocks.0.*`` also finds
    ``backbone.encoder.blocks.0.attn.pattern``.
    """
    taps = {name: module.shape for name, module in model.named_modules() if isinstance(module, Tap)}
    return {name: shape for name, shape in taps.items() if _matches(name, pattern)}


class Trace:
    """The tensors that passed the watched taps. Made by ``trace``."""

    def __init__(self, names: Sequence[str]) -> None:
        self._calls: dict[str, list[Tensor]] = {name: [] for name in names}
        self._passed: list[tuple[str, Tensor]] = []  # the same tensors, in the order in which they came

    def calls(self, name: str) -> list[Tensor]:
        """Every tensor that passed the tap ``name``, oldest first (a shared layer or a decoding loop passes often).

        Raises:
            KeyError: no watched tap has that name, or several do.
        """
        if name in self._calls:
            return self._calls[name]
        found = [known for known in self._calls if known.endswith("." + name)]
        if len(found) == 1:
            return self._calls[found[0]]
        if found:
            raise KeyError(f"{name!r} is ambiguous: {', '.join(found)}")
        raise KeyError(f"no watched tap is named {name!r}.{did_you_mean(name, self._calls)}")

    def __getitem__(self, name: str) -> Tensor:
        """The one tensor that passed the tap ``name``.

        Raises:
            KeyError: no watched tap has that name, or nothing has passed it.
            ValueError: the tap was passed more than once; ``calls(name)`` has them all.
        """
        calls = self.calls(name)
        if not calls:
            raise KeyError(f"nothing has passed the tap {name!r} yet")
        if len(calls) > 1:
            raise ValueError(f"the tap {name!r} was passed {len(calls)} times: use .calls({name!r})")
        return calls[0]

    def __iter__(self) -> Iterator[str]:
        return (name for name, calls in self._calls.items() if calls)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        try:
            return bool(self.calls(str(name)))
        except KeyError:
            return False

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs of name and tensor, for taps that were passed once."""
        return ((name, self[name]) for name in self)

    def matching(self, pattern: str) -> list[Tensor]:
        """All tensors of the taps that match ``pattern``, in the order of the forward pass."""
        return [x for name, x in self._passed if _matches(name, pattern)]

    def record(self, name: str, x: Tensor) -> None:
        """Note that ``x`` passed the tap ``name``."""
        self._calls[name].append(x)
        self._passed.append((name, x))

    def clear(self) -> None:
        """Forget what was recorded, keep watching."""
        for calls in self._calls.values():
            calls.clear()
        self._passed.clear()


class trace:  # noqa: N801  (used like a function)
    """Watch taps of ``model`` inside a ``with`` block: read what passes, or replace it.

    Args:
        model: any module that contains taps.
        patterns: shell patterns of tap names to record (see ``tap_names``).
        edit: tap name or pattern -> function of the passing tensor, or of it and the tap's name, to the one that goes
            on in its place; a recorded value is the edited one. Where several patterns match a tap, their functions
            act one after another, in the order in which they are given.
        strict: whether an edit must leave its argument as it is and give a tensor of the same shape, type and device.
            Without it that is up to you, and None leaves the tensor as it is.

    Raises:
        KeyError: a pattern matches no tap; the message names the nearest one.
        TraceError: from the pass itself, if an edit gives or does what it may not.
    """

    def __init__(
        self, model: nn.Module, *patterns: str, edit: Mapping[str, Edit] | None = None, strict: bool = True
    ) -> None:
        self._taps = {name: m for name, m in model.named_modules() if isinstance(m, Tap)}
        self._recorded = list(dict.fromkeys(name for p in patterns for name in self._find(p)))
        self._edits = [(name, fn) for pattern, fn in (edit or {}).items() for name in self._find(pattern)]
        self.strict = strict
        self.is_open = False
        self._stack = ExitStack()

    def __enter__(self) -> Trace:
        _entered.set(_entered.get() | {self})
        self.is_open = True
        result = Trace([name for name in self._taps if name in set(self._recorded)])
        for name, fn in self._edits:
            self._watch(name, _Editing(self, name, fn))
        for name in self._recorded:
            self._watch(name, _Recording(self, name, result))
        return result

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _entered.set(_entered.get() - {self})
        self.is_open = False
        self._stack.close()

    def _watch(self, name: str, hook: _Recording | _Editing) -> None:
        tap = self._taps[name]
        handle = tap.register_forward_hook(hook)
        self._stack.callback(handle.remove)
        if isinstance(hook, _Editing):
            self._stack.callback(hook.leave, tap)
            for other, earlier in list(tap._forward_hooks.items()):
                if isinstance(earlier, _Recording):  # of a trace around this one: it records what goes on
                    tap._forward_hooks[other] = tap._forward_hooks.pop(other)

    def _find(self, pattern: str) -> list[str]:
        found = [name for name in self._taps if _matches(name, pattern)]
        if not found:
            hint = did_you_mean(pattern, self._taps)
            raise KeyError(f"no tap matches {pattern!r}.{hint} tap_names(model) lists all {len(self._taps)}.")
        return found


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, "*." + pattern)


_entered: ContextVar[frozenset[trace]] = ContextVar("traces", default=frozenset())  # whose blocks we are in


def _in_backward() -> bool:
    """Whether this is computed by a backward pass: for the second time, that is."""
    return bool(torch._C._current_graph_task_id() != -1)


def _in_checkpoint() -> bool:
    """Whether this is computed inside of gradient checkpointing, whose backward pass computes it again."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != "torch.utils.checkpoint":
        frame = frame.f_back
    return frame is not None


class _Hook:
    """What a trace hangs into a tap; it does nothing outside of the trace's block, where other threads are."""

    def __init__(self, owner: trace, name: str) -> None:
        self.owner, self.name = owner, name

    @property
    def is_on(self) -> bool:
        """Whether we are inside of the trace's block; backward has threads of its own."""
        return self.owner in _entered.get() or (self.owner.is_open and _in_backward())


class _Recording(_Hook):
    """Notes what passes; what backward computes again has passed before."""

    def __init__(self, owner: trace, name: str, result: Trace) -> None:
        super().__init__(owner, name)
        self.result = result

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], x: Tensor) -> None:
        if self.is_on and not _in_backward():
            self.result.record(self.name, x)


class _Editing(_Hook):
    """Puts another tensor in the place of the one that passes."""

    def __init__(self, owner: trace, name: str, fn: Edit) -> None:
        super().__init__(owner, name)
        self.fn: Callable[..., Any] = fn
        self.takes_name = _takes_name(fn)
        self.without_graph, self.with_graph = 0, 0
        """How many edited passes backward has yet to compute again, of either kind of gradient checkpointing."""
        self.guard: _Guard | None = None

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], x: Tensor) -> Tensor | None:
        if not self.is_on:
            return None
        before = _fingerprint(x) if self.owner.strict else None
        edited = self.fn(x, self.name) if self.takes_name else self.fn(x)
        if self.owner.strict:
            self._check(x, before, edited)
        if _in_backward():
            self.without_graph -= self.without_graph > 0
        elif _in_checkpoint():
            self._expect_backward(edited)
        return edited

    def _expect_backward(self, edited: Any) -> None:
        if isinstance(edited, Tensor) and edited.requires_grad:
            self.with_graph += 1
            edited.register_hook(self._backward_came)  # type: ignore[no-untyped-call]
        else:
            self.without_graph += 1

    def _backward_came(self, gradient: Tensor) -> None:
        self.with_graph -= 1
        if self.guard is not None and self.with_graph + self.without_graph <= 0:
            self.guard.handle.remove()

    def _check(self, x: Tensor, before: Any, edited: Any) -> None:
        what = f"the edit of {self.name!r}"
        remedy = "or pass strict=False to trace if it is meant"
        if not isinstance(edited, Tensor):
            raise TraceError(f"{what} gives {type(edited).__name__}, not a tensor: let it return what shall go on")
        if not _is_unchanged(x, before):
            raise TraceError(
                f"{what} changes its argument in place, which others may hold: work on x.clone(), {remedy}"
            )
        for kind in ("shape", "dtype", "device"):
            old, new = getattr(x, kind), getattr(edited, kind)
            if old != new:
                old, new = (tuple(value) if kind == "shape" else value for value in (old, new))
                raise TraceError(
                    f"{what} gives a tensor of {kind} {new} for one of {kind} {old}: keep the {kind}, {remedy}"
                )

    def leave(self, tap: Tap) -> None:
        """After the block: stay watchful, if backward is yet to compute edited passes again."""
        if self.with_graph + self.without_graph > 0:
            self.guard = _Guard(self.name)
            self.guard.handle = tap.register_forward_hook(self.guard)


class _Guard:
    """Left where an edited pass of a checkpointed model has had no backward: refuses to let it run without the edit.

    The next pass forward shows that the edited one is done with, and removes it.
    """

    handle: Any

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_on(self) -> bool:
        """Whether this is the pass that it waits for; a pass forward sends it away."""
        if not _in_backward():
            self.handle.remove()
        return _in_backward()

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], x: Tensor) -> None:
        if _in_backward():
            raise TraceError(
                f"{self.name!r} was edited when it was computed, and backward computes it again without the edit: call "
                "backward() inside of the trace's with block, or leave out gradient checkpointing"
            )
        self.handle.remove()


def _takes_name(fn: Callable[..., Any]) -> bool:
    """Whether an edit wants the tap's name, too: it has a second argument that must be given, or is called ``name``."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 and (positional[1].default is inspect.Parameter.empty or positional[1].name == "name")


def _fingerprint(x: Tensor) -> Any:
    """Something that changes when ``x`` is changed in place: PyTorch's counter, or in inference mode a copy."""
    return x.clone() if x.is_inference() else x._version


def _is_unchanged(x: Tensor, before: Any) -> bool:
    if isinstance(before, Tensor):
        return torch.equal(x.nan_to_num(), before.nan_to_num())
    return bool(x._version == before)
