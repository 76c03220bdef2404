"""Direct attribution: an answer's logit as the sum of what every part wrote towards it. Nothing is folded or fitted.

The vector under the head is a sum: embeddings, each head of each attention, the projections' biases, the feed-forwards.
Norms on the way are led through with the scale that they had in the run (sqrt(var + eps), held), their biases are parts
of their own; an activation in a head multiplies each number with what it did in the run, gelu(z) / z. The parts then
add up to the logit, in pre-norm and post-norm wiring, on the weights as they are.

Elhage et al. 2021 ("A Mathematical Framework for Transformer Circuits") for decoders; for post-norm Kobayashi et al.
2021 (https://arxiv.org/abs/2109.07152), Modarressi et al. 2023 (https://arxiv.org/abs/2306.02873).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.errors import StudyError
from minitransformer.layers import tap_names
from minitransformer.models.common.heads import Logits, MeanPooler
from minitransformer.study.anatomy import Stack, frozen_gate, frozen_norm, top_stack
from minitransformer.study.detectors import per_head
from minitransformer.study.results import Result
from minitransformer.study.runs import Inputs, Run, has_taps, run

HELD_TO = {torch.float64: 1e-9, torch.float32: 1e-3}
"""How far the sum of the parts may be from the tensor that they make, as a share of its largest number."""


@dataclass
class Parts:
    """Vectors that add up to a residual stream, (parts, batch, token, width) in groups, with their names."""

    names: list[str] = field(default_factory=list)
    groups: list[Tensor] = field(default_factory=list)

    def add(self, names: Sequence[str], vectors: Tensor) -> None:
        """Parts more."""
        self.names += names
        self.groups.append(vectors)

    def add_bias(self, name: str, bias: Tensor | None) -> None:
        """A bias, the same everywhere."""
        if bias is not None:
            self.add([name], bias.detach().expand(self.groups[0].shape[1:-1] + bias.shape)[None])

    def total(self) -> Tensor:
        """Their sum."""
        return torch.stack([group.sum(0) for group in self.groups]).sum(0)

    def through_norm(self, name: str, norm: nn.Module, x: Tensor) -> None:
        """Lead them through a norm, whose input was ``x``."""
        bias = None
        for i, group in enumerate(self.groups):
            self.groups[i], bias = frozen_norm(norm, x, group)
        self.add_bias(f"{name} bias", bias)

    def through_linear(self, name: str, linear: Any) -> None:
        """Lead them through a linear layer."""
        self.groups = [F.linear(group, linear.weight.detach()) for group in self.groups]
        self.add_bias(f"{name} bias", linear.bias)

    def through_gate(self, before: Tensor, after: Tensor) -> None:
        """Lead them through an activation that made ``after`` of ``before``."""
        gate = frozen_gate(before, after)
        self.groups = [group * gate for group in self.groups]

    def through_mean(self, mask: Tensor | None) -> None:
        """Lead them through the mean over a text's tokens, of which padding is none."""
        if mask is None or mask.dim() != 2:
            self.groups = [group.mean(2, keepdim=True) for group in self.groups]
            return
        counted = mask[..., None].to(self.groups[0].dtype)
        share = counted / counted.sum(1, keepdim=True)
        self.groups = [(group * share).sum(2, keepdim=True) for group in self.groups]

    def check(self, name: str, x: Tensor) -> None:
        """Raise a StudyError unless they add up to ``x``, which passed the tap ``name``."""
        off = float((self.total() - x).abs().max() / x.abs().max().clamp(min=1e-30))
        if off > HELD_TO.get(x.dtype, 3e-2):
            raise StudyError(
                f"the parts do not add up to {name} (off by {off:.1e} of it): the way there is wired in a manner that "
                "taps do not tell; a block needs taps after_attn, after_cross_attn, after_ffn where layers/blocks.py "
                "has them, and nothing else may write to its residual stream"
            )


@torch.no_grad()
def attribute_logits(
    model: nn.Module,
    inputs: Inputs,
    token: int | None = None,
    foil: int | None = None,
    *,
    position: int | None = -1,
    neurons: bool = False,
) -> Result:
    """What each part of the model wrote towards a logit; the parts add up to it.

    In an encoder-decoder the parts are the decoder's, the cross-attention's heads among them. Where the head gives log
    probabilities (Transformer-XL) a part's share is that along the gradient, in other words relative to the mean score
    of all words; what the normaliser adds is "head bias".

    Args:
        model: with a head, in evaluation mode.
        inputs: a batch.
        token: class whose logit it is: a word, a label, 0 or 1 for an answer's start or end; None for all of them.
        foil: a class whose logit is subtracted.
        position: of the token whose output is read; None for all. Heads that answer once for a text find their own.
        neurons: give each neuron of the feed-forwards instead of their sum.

    Returns:
        Axes part, row, position, class: those of them with more than one place, and part. ``about`` has the logit and
        by how much the sum misses it.

    Raises:
        StudyError: no such class or position, or a part that does not follow the names.
    """
    written = Written.read(model, inputs, position=position, neurons=neurons)
    result = written.towards(token, foil)
    return result.at(
        **{axis: 0 for axis, size in zip(result.axes[1:], result.values.shape[1:], strict=True) if size == 1}
    )


@dataclass
class Written:
    """All that was written towards a head's answers, from one run; ``towards`` one of them, or all."""

    name: str
    names: list[str]
    groups: list[Tensor]  # (parts, batch, token, width) each
    last: Any
    final: Tensor  # (batch, token, width): what the last layer of the head reads
    answers: Tensor  # (batch, token, classes)

    @classmethod
    @torch.no_grad()
    def read(cls, model: nn.Module, inputs: Inputs, *, position: int | None = None, neurons: bool = False) -> Written:
        """Run the model; arguments as for ``attribute_logits``."""
        if getattr(model, "head", None) is None:
            raise StudyError(f"{type(model).__name__} has no head, so no logits: load it by an AutoModelFor... class")
        stack = top_stack(model)
        watched = run(model, inputs, _needed(model, stack))
        length = watched.calls[f"{stack.name}.output"][-1].shape[1]
        answers, name = _answers(model, watched)
        averages = answers.dim() == 2 and isinstance(getattr(model.backbone, "pooler", None), MeanPooler)
        if answers.dim() == 2:  # one answer for a text
            places: Tensor | None = None if averages else _read_from(model, watched, stack)
            answers = answers[:, None]
        elif position is None:
            places = None
        elif not -length <= position < length:
            raise StudyError(f"position {position} lies outside of the {length} tokens")
        else:
            places = torch.full((len(answers),), position % length, device=answers.device)
            answers = answers[:, [position]]
        parts = _stream(model, inputs, watched, stack, places, neurons)
        if averages:
            parts.through_mean(inputs.get("attention_mask"))
        last, final = _through_head(model, watched, parts, places)
        return cls(name, [part.removeprefix("backbone.") for part in parts.names], parts.groups, last, final, answers)

    @torch.no_grad()
    def towards(self, token: int | None, foil: int | None = None, *, place: int | None = None) -> Result:
        """The shares in the logit of a class, less that of a foil; axes part, row, position, class.

        Args:
            token: class; None for all.
            foil: class to subtract.
            place: number of the position among those that were read; by default all of them.
        """
        classes = self.answers.shape[-1]
        for one in (token, foil):
            if one is not None and not 0 <= one < classes:
                raise StudyError(f"class {one} is none of the {classes} that the head scores")
        if foil is not None and token is None:
            raise StudyError("a foil is subtracted from a token's logit: say which token")
        cut = slice(None) if place is None else slice(place, place + 1)
        final, logit = self.final[:, cut], self.answers[:, cut]
        weights = _functionals(self.last, final, token, foil).expand(*final.shape[:2], -1, -1)  # (B, T, C, D)
        values = [torch.einsum("pbtd, btcd -> pbtc", group[:, :, cut], weights) for group in self.groups]
        if token is not None:
            logit = logit[..., [token]] - (logit[..., [foil]] if foil is not None else 0.0)
        rest = logit - torch.einsum("btd, btcd -> btc", final, weights)
        shares = torch.cat([*values, rest[None]])  # (P, B, T, C)
        about: dict[str, Any] = {"sum_error": float((shares.sum(0) - logit).abs().max())}
        if logit.numel() == 1:
            about["logit"] = float(logit)
        labels = {"part": (*self.names, "head bias")}
        return Result(shares, ("part", "row", "position", "class"), labels, f"what wrote {self.name}", about)


def _needed(model: nn.Module, stack: Stack) -> list[str]:
    """Every tap that the parts are read off."""
    taps = []
    for block in stack.blocks:
        module = model.get_submodule(block)
        for attn in ("attn", "cross_attn"):
            if getattr(module, attn, None) is not None:
                taps += [f"{block}.{attn}.mixed", f"{block}.{attn}.out", f"{block}.after_{attn}"]
        taps += [f"{block}.{end}" for end in ("input", "output", "after_ffn", "ffn.hidden", "ffn.out")]
    missing = [tap for tap in taps if not has_taps(model, tap)]
    if missing:
        raise StudyError(f"{type(model).__name__} has no tap {missing[0]}, as layers/blocks.py has it")
    others = [name for name in tap_names(model) if "embeddings." in name or ".pooler." in name or _is_head(name)]
    return [*taps, f"{stack.name}.output", *others]


def _is_head(name: str) -> bool:
    return name.startswith("head.")


def _picked(x: Tensor, places: Tensor | None) -> Tensor:
    """The vectors at these places, (batch, 1, ...); all if None."""
    return x if places is None else x[torch.arange(len(x), device=x.device), places][:, None]


def _stream(
    model: nn.Module, inputs: Inputs, watched: Run, stack: Stack, places: Tensor | None, neurons: bool
) -> Parts:
    """The parts of the stack's output."""
    parts = Parts()
    first = next(i for i, (name, _) in enumerate(watched.order) if name == f"{stack.blocks[0]}.input")
    _embeddings(model, watched, parts, [name for name, _ in watched.order[:first]], places)
    parts.check(f"{stack.blocks[0]}.input", _picked(watched.calls[f"{stack.blocks[0]}.input"][0], places))
    x = None
    for name, call in watched.order:
        if name.endswith(".output") and name.removesuffix(".output") in stack.blocks:
            block = name.removesuffix(".output")
            several = len(watched.calls[name]) > 1
            _block(model, watched, parts, block, call, f"{block}[{call}]" if several else block, places, neurons)
            x = _picked(watched.calls[name][call], places)
            parts.check(name, x)
    assert x is not None  # a stack has blocks
    if stack.final_norm is not None:
        parts.through_norm(f"{stack.name}.final_norm", stack.final_norm, x)
    parts.check(f"{stack.name}.output", _picked(watched.calls[f"{stack.name}.output"][-1], places))
    return parts


def _embeddings(model: nn.Module, watched: Run, parts: Parts, before: list[str], places: Tensor | None) -> None:
    """Word, token type and position, through what is between them and the first block."""
    outputs = [name for name in before if name.endswith("embeddings.output")]
    if not outputs:
        raise StudyError(f"{type(model).__name__} has no tap `embeddings.output` before its first block")
    name = outputs[-1].removesuffix(".output")
    module: Any = model.get_submodule(name)
    calls = {end: watched.calls.get(f"{name}.{end}", []) for end in ("words", "token_types", "positions", "sum")}
    if not calls["sum"]:  # an embedding of another kind: one part
        parts.add([f"{name} word"], _picked(watched.calls[f"{name}.output"][0], places)[None])
    else:
        scale = getattr(module, "scale", 1.0)
        for end, told, factor in (
            ("words", "word", scale),
            ("token_types", "type", scale),
            ("positions", "position", 1),
        ):
            if calls[end]:
                x = calls[end][0]
                x = x.expand(len(calls["words"][0]), -1, -1) * factor
                parts.add([f"{name} {told}"], _picked(x, places)[None])
        if getattr(module, "norm", None) is not None:
            parts.through_norm(f"{name}.norm", module.norm, _picked(calls["sum"][0], places))
    owner: Any = model.get_submodule(name.rpartition(".")[0])
    project = getattr(owner, "embeddings_project", None)
    if project is not None:
        parts.through_linear(f"{name}_project", project)


def _block(
    model: nn.Module, watched: Run, parts: Parts, block: str, call: int, told: str, places: Tensor | None, neurons: bool
) -> None:
    """What one pass through a block adds, and its norms in post-norm wiring."""
    module: Any = model.get_submodule(block)
    calls = {
        name.removeprefix(f"{block}."): x[call] for name, x in watched.calls.items() if name.startswith(f"{block}.")
    }
    post_norm = hasattr(module, "ffn_norm") and not torch.equal(calls["after_ffn"], calls["output"])
    for attn in ("attn", "cross_attn"):
        if f"{attn}.mixed" not in calls:
            continue
        attention = getattr(module, attn)
        mixed = _picked(calls[f"{attn}.mixed"].transpose(1, 2), places)  # (B, T, H, K)
        written = torch.einsum("bthk, hdk -> hbtd", mixed, per_head(attention)[3])
        parts.add([f"{told}.{attn} head {head}" for head in range(len(written))], written)
        parts.add_bias(f"{told}.{attn} bias", attention.output.bias)
        x = _picked(calls[f"after_{attn}"], places)
        parts.check(f"{block}.after_{attn}", x)
        if post_norm:
            parts.through_norm(f"{told}.{attn}_norm", getattr(module, f"{attn}_norm"), x)
    if neurons and hasattr(module.ffn, "down"):
        hidden = _picked(calls["ffn.hidden"], places)
        written = torch.einsum("btf, df -> fbtd", hidden, module.ffn.down.weight)
        parts.add([f"{told}.ffn neuron {i}" for i in range(len(written))], written)
        parts.add_bias(f"{told}.ffn bias", module.ffn.down.bias)
    else:
        parts.add([f"{told}.ffn"], _picked(calls["ffn.out"], places)[None])
    if post_norm:
        parts.through_norm(f"{told}.ffn_norm", module.ffn_norm, _picked(calls["after_ffn"], places))


# ---------------------------------------------------------------------------------------------------------- the head


def _the_head(model: Any) -> tuple[str, Any]:
    """The head that scores words, where there are several."""
    head = model.head
    return ("head.words", head["words"]) if isinstance(head, nn.ModuleDict) else ("head", head)


def _answers(model: Any, watched: Run) -> tuple[Tensor, str]:
    name = f"{_the_head(model)[0]}.logits"
    if name not in watched.calls:
        raise StudyError(f"the head of {type(model).__name__} has no tap `logits` behind it")
    return watched.calls[name][0], name


def _chain(model: Any, watched: Run, whole: bool) -> list[tuple[str, Any, Any]]:
    """The steps from the stack's output to the last linear layer: (kind, name and module, tensors of the run)."""
    steps: list[tuple[str, Any, Any]] = []
    pooled = [name for name in watched.calls if name.endswith("pooler.pre") and watched.calls[name]]
    name, head = _the_head(model)
    if whole and pooled:
        pooler = pooled[0].removesuffix(".pre")
        steps.append(("linear", (f"{pooler}.dense", model.get_submodule(f"{pooler}.dense")), None))
        steps.append(("gate", None, (watched.calls[f"{pooler}.pre"][0], watched.calls[f"{pooler}.out"][0])))
    if hasattr(head, "dense"):
        steps.append(("linear", (f"{name}.dense", head.dense), None))
        before, after = watched.calls[f"{name}.pre"][0], watched.calls[f"{name}.hidden"][0]
        steps.append(("gate", None, (before, after)))
        if hasattr(head, "norm"):
            steps.append(("norm", (f"{name}.norm", head.norm), after))
    return steps


def _last(head: Any) -> Any:
    """The layer that makes logits: the last one of a head with a layer of its own, or the whole head."""
    return head.output if hasattr(head, "dense") else head


def _read_from(model: Any, watched: Run, stack: Stack) -> Tensor:
    """The place of each text's token that a head reads which answers once for a text: (batch,).

    Told by trying: the first thing that the head computes is computed for every token, and the one that fits is it.
    """
    x = watched.calls[f"{stack.name}.output"][-1]
    steps = _chain(model, watched, whole=True)
    if steps:
        every, found = steps[0][1][1](x), steps[1][2][0]
    else:
        every, found = _last(_the_head(model)[1])(x), _answers(model, watched)[0]
    return (every - found[:, None]).abs().amax(-1).argmin(1)


def _through_head(model: Any, watched: Run, parts: Parts, places: Tensor | None) -> tuple[Any, Tensor]:
    """Lead the parts to the last linear layer; returns it, and what goes into it."""
    whole = _answers(model, watched)[0].dim() == 2

    def cut(x: Tensor) -> Tensor:
        return x[:, None] if whole else _picked(x, places)

    for kind, named, tensors in _chain(model, watched, whole):
        if kind == "linear":
            parts.through_linear(named[0], named[1])
        elif kind == "gate":
            before, after = map(cut, tensors)
            parts.check("what goes into the head's activation", before)
            parts.through_gate(before, after)
        else:
            parts.through_norm(named[0], named[1], cut(tensors))
    name, head = _the_head(model)
    pooled = [name for name in watched.calls if whole and name.endswith("pooler.out") and watched.calls[name]]
    stack_output = f"{top_stack(model).name}.output"
    into = f"{name}.normed" if hasattr(head, "norm") else f"{name}.hidden" if hasattr(head, "dense") else None
    into = into or (pooled[0] if pooled else stack_output)
    found = watched.calls[into][-1]
    x = _picked(found, places) if found.dim() == 3 else found[:, None]
    parts.check(into, x)
    return _last(head), x


def _functionals(last: Any, x: Tensor, token: int | None, foil: int | None) -> Tensor:
    """The gradient of the chosen logits by ``x``: (batch or 1, token or 1, classes, width); constant if affine."""
    if isinstance(last, nn.Linear | Logits) and token is None:
        zero = last(x.new_zeros(1, 1, x.shape[-1]))
        return (last(torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[None]) - zero).transpose(1, 2)[:, None]
    chosen = range(_classes(last, x)) if token is None else [token]
    rows = []
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        scores = last(point)
        for one in chosen:
            value = scores[..., one] if foil is None else scores[..., one] - scores[..., foil]
            rows.append(torch.autograd.grad(value.sum(), point, retain_graph=True)[0])
    return torch.stack(rows, dim=2)


def _classes(last: Any, x: Tensor) -> int:
    return int(last(x[:1, :1]).shape[-1])
