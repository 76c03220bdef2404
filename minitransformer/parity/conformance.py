"""Whether a part of a user's own keeps what a model asks of every part: masks, caches, padding, types, taps, files.

::

    from minitransformer.testing import check_part

    check_part(SparsemaxAttention)          # a class; or a module; or what from_pretrained takes in parts=

Each check has a name, and a part that is wrong in one thing fails the check that names it: what needs that thing to be
right is then not run. Everything is computed in float64 on a tiny GPT-2, whose numbers are drawn here.
"""

from __future__ import annotations

import copy
import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import config as jaxtyping_config
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck
from torch.func import functional_call

from minitransformer.layers import (
    DecoderCache,
    FeedForward,
    KVCache,
    MultiHeadAttention,
    Tap,
    View,
    arguments_of,
    like,
    token_positions,
    trace,
)
from minitransformer.models.common import parts as registered
from minitransformer.models.common.parts import Make, name_of, put_parts
from minitransformer.models.gpt2 import GPT2Config, GPT2LMHeadModel

Kind = Literal["attention", "feed-forward", "layer"]

PLACES: dict[Kind, str] = {
    "attention": "decoder.blocks.*.attn",
    "feed-forward": "decoder.blocks.*.ffn",
    "layer": "decoder.blocks.*.attn.query",
}
"""Where a part is put: attention is called with (x, view), the others with x; a layer may give another width."""
TAPS: dict[Kind, tuple[str, ...]] = {
    "attention": ("q", "k", "v", "raw_scores", "scores", "pattern", "mixed", "out"),
    "feed-forward": ("pre", "hidden", "out"),
    "layer": (),
}
"""Names that study tools look for in every part of a kind; ``without_taps`` of a part says which it has not."""

TOLERANCE = 1e-10
"""Between two ways to compute the same in float64."""

HEADS, VOCABULARY = 4, 40
_OF_EVERY_MODULE = set(vars(nn.Module()))


class PartError(AssertionError):
    """A part that fails checks.

    Attributes:
        failed: name of the check -> what was found.
    """

    def __init__(self, report: Report) -> None:
        self.report, self.failed = report, {one.check: one.found for one in report.results if one.state == "failed"}
        super().__init__(str(report))


@dataclass(frozen=True)
class Result:
    """What one check found: ``state`` is "passed", "failed" or "not run"."""

    check: str
    state: str
    found: str = ""


@dataclass
class Report:
    """The results of all checks; prints as a table."""

    part: str
    results: list[Result] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [one.check for one in self.results if one.state == "failed"]

    def __str__(self) -> str:
        wide = max(len(one.check) for one in self.results)
        lines = [f"  {one.check:{wide}}  {one.state}{': ' if one.found else ''}{one.found}" for one in self.results]
        return "\n".join([f"{self.part}: {', '.join(self.failed) or 'nothing'} failed", *lines])


class _NotRun(Exception):
    """Raised by a check that cannot say anything here."""


def check_part(
    part: Make | type[nn.Module] | nn.Module, *, kind: Kind | None = None, without_taps: tuple[str, ...] = ()
) -> Report:
    """Check a part, and give the report; or raise it, if a check failed.

    Args:
        part: a class, which is made with the arguments of the module that it replaces (``layers.like``); a module; or a
            function from the old module to the new one.
        kind: "attention" (self-attention, called with ``(x, view)``), "feed-forward" or "layer" (a linear layer); by
            default what its ``forward`` takes.
        without_taps: names of taps that the part has not; also as an attribute ``without_taps`` of its class.

    Raises:
        PartError: a check failed; ``failed`` has the names.
        TypeError: it is no part, or it is not clear of which kind.
    """
    with torch.random.fork_rng(devices=[]):
        subject = _Subject(part, kind, without_taps)
        report = _checked(subject)
    if report.failed:
        raise PartError(report)
    return report


def _checked(subject: _Subject) -> Report:
    report, missed = Report(f"{subject.name} as {subject.kind}"), set()
    for check in CHECKS:
        name = check.__name__.strip("_").replace("_", " ")
        lacking = [need for need in NEEDS[name] if need in missed]
        if lacking:
            report.results.append(Result(name, "not run", f"{lacking[0]} comes first"))
            missed.add(name)
            continue
        try:
            torch.manual_seed(0)
            check(subject)
            report.results.append(Result(name, "passed"))
        except _NotRun as reason:
            report.results.append(Result(name, "not run", str(reason)))
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            found = lines[0] if isinstance(error, _Wrong) else f"{type(error).__name__}: {lines[0]}"
            report.results.append(Result(name, "failed", found))
            missed.add(name)
    return report


class _Wrong(Exception):
    """What a check found."""


class _Subject:
    """A part, made anew for each check, and the tiny model around it."""

    def __init__(self, part: Any, kind: Kind | None, without_taps: tuple[str, ...]) -> None:
        self.width = _width(part) if isinstance(part, nn.Module) else 16
        if isinstance(part, nn.Module):
            self.make: Make = lambda old: copy.deepcopy(part)
        elif isinstance(part, type) and issubclass(part, nn.Module):
            self.make = like(part)
        elif callable(part):
            self.make = part
        else:
            raise TypeError(f"a part is a class, a module or a function that makes one, not {part!r:.100}")
        self.kind = kind or self._kind()
        try:
            made = self.part()
        except Exception as error:
            raise TypeError(f"the part cannot be made as {self.kind}: {error}") from error
        self.name = type(made).__name__
        self.without_taps = (*without_taps, *getattr(made, "without_taps", ()))

    def old(self, kind: Kind) -> nn.Module:
        """What it replaces."""
        attention = MultiHeadAttention(self.width, HEADS)
        if kind == "feed-forward":
            return FeedForward(self.width, 24, "gelu_new")
        return attention if kind == "attention" else attention.query

    def _kind(self) -> Kind:
        """The first kind that can be made, and whose ``forward`` takes as much."""
        reasons = []
        for kind in PLACES:
            try:
                made = self.make(self.old(kind))
                taken = len(inspect.signature(made.forward).parameters)
            except Exception as error:
                reasons.append(f"{kind}: {error}")
                continue
            if kind == "attention" and taken > 1:
                return kind
            if kind == "feed-forward" and taken == 1 and not isinstance(made, nn.Linear):
                return kind
            if kind == "layer" and taken == 1:
                return kind
        kinds = " or ".join(map(repr, PLACES))
        raise TypeError(f"of which kind is this part? Pass kind={kinds} ({'; '.join(reasons)})")

    def part(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """A new one in evaluation mode, whose numbers are not the ones that it begins with."""
        made = self.make(self.old(self.kind)).to(dtype).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return made

    def model(self, dtype: torch.dtype = torch.float64) -> GPT2LMHeadModel:
        """A model that has it in every block."""
        config = GPT2Config(
            vocab_size=VOCABULARY, hidden_size=self.width, num_layers=2, num_heads=HEADS, inner_size=24,
            num_positions=64, bos_token_id=0, eos_token_id=None, pad_token_id=1, initializer_range=0.3,
        )  # fmt: skip
        model = GPT2LMHeadModel(config).to(dtype)
        put_parts(model, {PLACES[self.kind]: self.make}, dtype=dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model.eval()

    def call(self, part: nn.Module, x: Tensor, view: View | None = None) -> Tensor:
        result: Any = part(x, view or View()) if self.kind == "attention" else part(x)
        if not isinstance(result, Tensor):
            raise _Wrong(f"forward gives {type(result).__name__}, not a tensor")
        return result

    def inputs(self, batch: int = 1, tokens: int = 6) -> Tensor:
        return torch.randn(batch, tokens, self.width, dtype=torch.float64)


def _width(part: nn.Module) -> int:
    """Of the input."""
    try:
        width = arguments_of(part).get("hidden_size")
    except TypeError:
        width = None
    layers = [module.in_features for module in part.modules() if isinstance(module, nn.Linear)]
    return int(width or (layers[0] if layers else 16))


def _same(found: Tensor, wanted: Tensor, what: str, tolerance: float = TOLERANCE) -> None:
    if found.shape != wanted.shape:
        raise _Wrong(f"{what}: the shapes are {tuple(found.shape)} and {tuple(wanted.shape)}")
    difference = (found - wanted).abs().max().item() if found.numel() else 0.0
    if not difference <= tolerance:
        raise _Wrong(f"{what}: differ by {difference:.2g}")


# The checks, in order; the first line of each is what a part must do --------------------------------------


def call(subject: _Subject) -> None:
    """It gives a tensor of finite numbers, with a vector for each of the given ones."""
    x = subject.inputs(2)
    result = subject.call(subject.part(), x, View(causal=True))
    wanted = x.shape if subject.kind != "layer" else x.shape[:2]
    if result.shape[: len(wanted)] != wanted or result.dim() != 3:
        raise _Wrong(f"gives a tensor of the shape {tuple(result.shape)} for one of {tuple(x.shape)}")
    if not result.isfinite().all():
        raise _Wrong("gives numbers that are not finite")


def state(subject: _Subject) -> None:
    """It keeps nothing in itself: what must be remembered lies in the cache."""
    part = subject.part()
    before = _state_of(part)
    subject.call(part, subject.inputs(2), View(causal=True))
    cache = KVCache()
    for tokens in (3, 1):
        subject.call(part, subject.inputs(1, tokens), View(causal=True, cache=cache))
    changed = [name for name, value in _state_of(part).items() if not _equal(before.get(name), value)]
    if changed:
        raise _Wrong(f"a call changes {', '.join(changed)}")


def deterministic(subject: _Subject) -> None:
    """In evaluation mode, it gives the same for the same."""
    part, x = subject.part(), subject.inputs(2)
    first, second = (subject.call(part, x, View(causal=True)) for _ in range(2))
    if not torch.equal(first, second):
        raise _Wrong("gives two answers to one question in evaluation mode")


def dtype(subject: _Subject) -> None:
    """It computes in the type of its weights and input."""
    for kind in (torch.float64, torch.float32, torch.bfloat16):
        result = subject.call(subject.part(kind), subject.inputs(2).to(kind), View(torch.ones(2, 6), causal=True))
        if result.dtype != kind:
            raise _Wrong(f"gives {result.dtype} for {kind}")


def device(subject: _Subject) -> None:
    """All of its tensors are where its input is."""
    places = ["meta", *(["cuda"] if torch.cuda.is_available() else [])]
    for place in places:
        x, mask = subject.inputs(2).to(place), torch.ones(2, 6, device=place)
        try:
            result = subject.call(subject.part().to(place), x, View(mask, causal=True))
        except (RuntimeError, NotImplementedError) as error:
            words = str(error)
            if "device" in words and ("same device" in words or "cpu" in words):
                raise _Wrong(f"mixes tensors of {place} and another device: {words.splitlines()[0]}") from error
            raise _NotRun(f"it looks at numbers, which the device {place} has not") from error
        if result.device.type != place:
            raise _Wrong(f"gives a tensor on {result.device.type} for one on {place}")


def hidden_keys(subject: _Subject) -> None:
    """What the view hides has no influence: exactly none. A part that is no attention reads each token alone."""
    part, T = subject.part(), 6
    some = torch.rand(1, 1, T, T) < 0.6
    padded = torch.tensor([[0, 0, 1, 1, 1, 1]])
    views: dict[str, Callable[[], View]] = {
        "as the future": lambda: View(causal=True),
        "as padding on the left": lambda: View(padded, causal=True),
        "as padding on the right": lambda: View(padded.flip(1)),
        "outside of the window": lambda: View(causal=True, window=2),
        "by a mask of pairs": lambda: View(some | torch.eye(T).bool()),
        "by view.mask": lambda: View(mask=some | torch.eye(T).bool()),
    }
    if subject.kind != "attention":
        views = {"each token is read alone": lambda: View(mask=torch.eye(T).bool()[None, None])}
    for what, view in views.items():
        allowed = view().allowed(T, T)
        assert allowed is not None
        allowed = allowed.expand(1, 1, T, T)[0, 0]
        x = subject.inputs().requires_grad_()
        result = subject.call(part, x, view())
        for query in range(T):
            if not allowed[query].any():  # padding, whose answer nobody reads
                continue
            (gradient,) = torch.autograd.grad(result[0, query].sin().sum(), x, retain_graph=True)
            for key in range(T):
                if not allowed[query, key] and key != query and gradient[0, key].ne(0).any():
                    raise _Wrong(f"token {query} depends on token {key}, which is hidden ({what})")


def batch(subject: _Subject) -> None:
    """Texts in one batch do not know of each other."""
    part, x, mask = subject.part(), subject.inputs(3), _right([6, 3, 4])
    together = subject.call(part, x, _causal(mask))
    for row, length in enumerate((6, 3, 4)):
        alone = subject.call(part, x[row : row + 1, :length], View(causal=True, positions=token_positions(length)))
        _same(together[row : row + 1, :length], alone, "a text in a batch and alone")


def padding(subject: _Subject) -> None:
    """It makes no difference on which side padding lies."""
    part, x, length = subject.part(), subject.inputs(1, 4), 4
    blank = subject.inputs(1, 2)
    right = subject.call(part, torch.cat([x, blank], dim=1), _causal(_right([4], 6)))[:, :length]
    left = subject.call(part, torch.cat([blank, x], dim=1), _causal(_right([4], 6).flip(1)))[:, 2:]
    _same(left, right, "padding on the left and on the right")


def cache(subject: _Subject) -> None:
    """Token by token with a cache, it gives what it gives for all at once."""
    if subject.kind != "attention":
        raise _NotRun("only attention has a cache")
    for lengths in ([8, 8], [8, 5]):
        part, x, mask = subject.part(), subject.inputs(2, 8), _right(lengths).flip(1)
        whole = subject.call(part, x, _causal(mask))
        kept, seen = KVCache(), 0
        for tokens in (3, 1, 1, 2, 1):
            seen += tokens
            positions = token_positions(tokens, mask[:, :seen])
            view = View(mask[:, :seen], causal=True, positions=positions, cache=kept)
            piece = subject.call(part, x[:, seen - tokens : seen], view)
            if kept.length != seen:
                raise _Wrong(f"the cache holds {kept.length} tokens after {seen}: call view.cache.append(keys, values)")
            real = mask[:, seen - tokens : seen].bool()
            _same(piece[real], whole[:, seen - tokens : seen][real], f"tokens {seen - tokens} to {seen - 1} by steps")


def gradients(subject: _Subject) -> None:
    """Its gradients are those of finite differences, of the input and of every parameter."""
    part, x = subject.part(), subject.inputs(1, 3).requires_grad_()
    names = [name for name, parameter in part.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in part.parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        given = (x, View(causal=True)) if subject.kind == "attention" else (x,)
        result: Tensor = functional_call(part, dict(zip(names, values, strict=True)), given)
        return result

    try:
        gradcheck(run, (x, *values), fast_mode=True, raise_exception=True)
    except GradcheckError as error:
        raise _Wrong(str(error).splitlines()[0]) from error


def taps(subject: _Subject) -> None:
    """It has the taps of its kind, and gives the same while they are watched; or says which it has not."""
    part, x = subject.part(), subject.inputs(2)
    wanted = [name for name in TAPS[subject.kind] if name not in subject.without_taps]
    there = {name for name, module in part.named_children() if isinstance(module, Tap)}
    lacking = [name for name in wanted if name not in there]
    if lacking:
        raise _Wrong(f"has no tap {', '.join(lacking)}: add them, or say so: without_taps = {tuple(lacking)!r}")
    if not wanted:
        return
    plain = subject.call(part, x, View(causal=True))
    with trace(part, *wanted) as t:
        watched = subject.call(part, x, View(causal=True))
    unused = [name for name in wanted if not t.calls(name)]
    if unused:
        raise _Wrong(f"nothing passes the tap {', '.join(unused)}")
    _same(watched, plain, "watched and unwatched")
    if "out" in wanted:
        with trace(part, edit={"out": torch.zeros_like}):
            _same(subject.call(part, x, View(causal=True)), torch.zeros_like(plain), "what passes out, and the result")


@torch.no_grad()
def generate(subject: _Subject) -> None:
    """In a model, generation with the cache, with beams that trade places, and after a crop is that without a cache."""
    model = subject.model()
    ids = torch.randint(2, VOCABULARY, (2, 5))
    mask = _right([5, 3]).flip(1)
    for options in ({}, {"num_beams": 4, "num_return_sequences": 4}):
        found, wanted = (
            model.generate(ids, attention_mask=mask, max_new_tokens=8, use_cache=use, do_sample=False, **options)
            for use in (True, False)
        )
        if not torch.equal(found, wanted):
            raise _Wrong(f"writes another text with a cache{', and beams' if options else ''}")
    kept, rows = DecoderCache(), torch.tensor([1, 0, 1])
    model(ids, past_key_values=kept)
    kept.crop(3)
    _same(model(ids[:, 3:], past_key_values=kept).logits, model(ids).logits[:, 3:], "after a crop of the cache")
    kept.select(rows)
    kept.crop(4)
    again = model(ids[rows, 4:], past_key_values=kept).logits
    _same(again, model(ids[rows]).logits[:, 4:], "after rows of the cache were chosen")


class _Alone(nn.Module):
    """A part as a model that takes two tensors."""

    def __init__(self, part: nn.Module, subject: _Subject) -> None:
        super().__init__()
        self.part, self.is_attention = part, subject.kind == "attention"

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        result: Tensor = self.part(x, View(mask, causal=True)) if self.is_attention else self.part(x)
        return result


@torch.no_grad()
def export(subject: _Subject) -> None:
    """torch.export takes it, for any number of texts and tokens."""
    alone = _Alone(subject.part(), subject)
    sizes = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    given = (subject.inputs(2, 5), _right([5, 3]).flip(1))
    with _without_checks_of_shapes():
        exported = torch.export.export(alone, given, dynamic_shapes=(sizes, sizes)).module()
    for lengths in ([5, 3], [7, 2, 4]):
        x, mask = subject.inputs(len(lengths), max(lengths)), _right(lengths).flip(1)
        found, wanted = exported(x, mask), alone(x, mask)
        _same(found[mask.bool()], wanted[mask.bool()], f"exported, of {len(lengths)} texts of {max(lengths)} tokens")


@torch.no_grad()
def saved(subject: _Subject) -> None:
    """Saved and loaded, a model that has it is bit by bit the same."""
    model = subject.model(torch.float32)
    part = next(m for name, m in model.named_modules() if registered.matches(name, PLACES[subject.kind]))
    with _registered(part):
        ids = torch.randint(2, VOCABULARY, (2, 5))
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(Path(folder))
            again = GPT2LMHeadModel.from_pretrained(Path(folder))
        if not torch.equal(again(ids).logits, model(ids).logits):
            raise _Wrong("a model that is saved and loaded gives other numbers: what does the constructor not set?")


CHECKS: tuple[Callable[[_Subject], None], ...] = (
    call,
    state,
    deterministic,
    dtype,
    device,
    hidden_keys,
    batch,
    padding,
    cache,
    gradients,
    taps,
    generate,
    export,
    saved,
)
"""All checks, in the order in which they run."""

_FIRST = ("call", "state", "deterministic")
NEEDS: dict[str, tuple[str, ...]] = {
    "call": (),
    "state": ("call",),
    "deterministic": ("call", "state"),
    "dtype": _FIRST,
    "device": _FIRST,
    "hidden keys": (*_FIRST, "dtype"),
    "batch": (*_FIRST, "dtype", "hidden keys"),
    "padding": (*_FIRST, "dtype", "hidden keys"),
    "cache": (*_FIRST, "dtype", "hidden keys"),
    "gradients": (*_FIRST, "dtype"),
    "taps": (*_FIRST, "dtype"),
    "generate": (*_FIRST, "dtype", "hidden keys", "batch", "padding", "cache"),
    "export": (*_FIRST, "dtype"),
    "saved": _FIRST,
}
"""Check -> those that must have passed for it to mean anything."""


def _right(lengths: list[int], width: int | None = None) -> Tensor:
    """A mask of texts of these lengths, with padding on the right."""
    return (torch.arange(width or max(lengths)) < torch.tensor(lengths)[:, None]).long()


def _causal(mask: Tensor) -> View:
    return View(mask, causal=True, positions=token_positions(mask.shape[1], mask))


def _state_of(part: nn.Module) -> dict[str, Any]:
    """All that a module and those in it hold, beside parameters and what every module has."""
    found: dict[str, Any] = {}
    for name, module in part.named_modules():
        for key, value in vars(module).items():
            if key not in _OF_EVERY_MODULE and key != "_made_with":
                found[f"{name}.{key}".lstrip(".")] = value.clone() if isinstance(value, Tensor) else copy.copy(value)
        for key, buffer in module._buffers.items():
            found[f"{name}.{key}".lstrip(".")] = None if buffer is None else buffer.clone()
    return found


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, bool | int | float | str | list | dict | set | tuple | None):
        return type(one) is type(other) and repr(one) == repr(other)
    return type(one) is type(other)


@contextmanager
def _without_checks_of_shapes() -> Iterator[None]:
    """A tracer passes numbers of its own, which checks of the shapes in signatures would not let through."""
    before = jaxtyping_config.jaxtyping_disable
    jaxtyping_config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping_config.update("jaxtyping_disable", before)


@contextmanager
def _registered(part: nn.Module) -> Iterator[None]:
    """Inside, the part's class is registered; one that was not, and knows no arguments, cannot be saved at all."""
    if name_of(part) is not None:
        yield
        return
    try:
        arguments_of(part)
    except TypeError as error:
        raise _NotRun(f"register_part comes before modules are made: {error}") from error
    registered.PARTS["part that is checked"] = type(part)
    try:
        yield
    finally:
        del registered.PARTS["part that is checked"]
