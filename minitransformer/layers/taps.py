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
see it nor are seen. The idea of identity "hook points" is TransformerLens'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import partial
from types import TracebackType

from torch import Tensor, nn

from minitransformer.errors import did_you_mean

Edit = Callable[[Tensor], Tensor]


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

    def extra_repr(self) -> str:
        return self.shape


def tap_names(model: nn.Module, pattern: str = "*") -> dict[str, str]:
    """The taps of ``model`` that match ``pattern``: name -> names of its axes, in the order of the forward pass.

    A pattern is a shell pattern and may begin at any module, so that ``encoder.blocks.0.*`` also finds
    ``bert.encoder.blocks.0.attn.pattern``.
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
        edit: tap name or pattern -> function from the passing tensor to the one that goes on in its place; a
            recorded value is the edited one.

    Raises:
        KeyError: a pattern matches no tap; the message names the nearest one.
    """

    def __init__(self, model: nn.Module, *patterns: str, edit: Mapping[str, Edit] | None = None) -> None:
        self._taps = {name: m for name, m in model.named_modules() if isinstance(m, Tap)}
        self._recorded = list(dict.fromkeys(name for p in patterns for name in self._find(p)))
        self._edits = {name: fn for pattern, fn in (edit or {}).items() for name in self._find(pattern)}
        self._stack = ExitStack()

    def __enter__(self) -> Trace:
        _entered.set(_entered.get() | {self})
        result = Trace([name for name in self._taps if name in set(self._recorded)])
        for name, fn in self._edits.items():
            self._watch(name, fn)
        for name in self._recorded:
            self._watch(name, partial(result.record, name))
        return result

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _entered.set(_entered.get() - {self})
        self._stack.close()

    def _watch(self, name: str, act: Callable[[Tensor], Tensor | None]) -> None:
        self._stack.callback(self._taps[name].register_forward_hook(_Hook(self, act)).remove)

    def _find(self, pattern: str) -> list[str]:
        found = [name for name in self._taps if _matches(name, pattern)]
        if not found:
            hint = did_you_mean(pattern, self._taps)
            raise KeyError(f"no tap matches {pattern!r}.{hint} tap_names(model) lists all {len(self._taps)}.")
        return found


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, "*." + pattern)


_entered: ContextVar[frozenset[trace]] = ContextVar("traces", default=frozenset())  # whose blocks we are in


class _Hook:
    """What a trace hangs into a tap; it does nothing outside of the trace's block, where other threads are."""

    def __init__(self, owner: trace, act: Callable[[Tensor], Tensor | None]) -> None:
        self.owner, self.act = owner, act

    @property
    def is_on(self) -> bool:
        """Whether we are inside of the trace's block."""
        return self.owner in _entered.get()

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], x: Tensor) -> Tensor | None:
        return self.act(x) if self.is_on else None
