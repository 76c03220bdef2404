"""Drawings of all architectures, one block each, made from the code: a small model is run, its operations are drawn.

``tools/site.py`` puts them into the documentation. What a drawing shows is read off the table of operations that parity
compares with: the order of norms and residuals, who is attended to, what is added to the words.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch

from minitransformer.models.auto import ARCHITECTURES, architecture
from minitransformer.parity.operations import Operation, operations
from minitransformer.parity.recording import record

WIDE, STEP, BOX, MARGIN = 172, 46, 32, 30
SMALL = {
    "hidden_size": 32, "embedding_size": 32, "num_layers": 1, "decoder_layers": 1, "num_heads": 4, "head_size": 8,
    "decoder_attention_heads": 4, "intermediate_size": 64, "inner_size": 64, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "num_kv_heads": 2, "vocab_size": 60000, "target_vocab_size": 60000, "cutoffs": [100, 200],
    "num_positions": 64,
}  # fmt: skip
NAMES = {
    "transfo-xl": "Transformer-XL", "openai-gpt": "GPT", "gpt2": "GPT-2", "t5": "T5", "mt5": "mT5", "bert": "BERT",
    "albert": "ALBERT", "roberta": "RoBERTa", "distilbert": "DistilBERT", "electra": "ELECTRA", "bart": "BART",
    "mbart": "mBART", "ctrl": "CTRL", "transformer": "Transformer (2017)", "m2m_100": "M2M100",
    "modernbert": "ModernBERT",
}  # fmt: skip
FIRST = ("transformer", "bert", "gpt2", "bart", "t5", "llama")
COLOURS = {"norm": "#c9a227", "attention": "#2a7fb8", "cross": "#7b52ab", "ffn": "#2e9e6b", "embeddings": "#888888"}


@dataclass
class Part:
    """One thing of a column, bottom to top."""

    kind: str
    title: str
    below: str = ""
    since: str = ""
    """Of a residual: the tensor that goes around."""


@dataclass
class Column:
    """A stack: what goes in, one block, what comes out."""

    title: str
    parts: list[Part] = field(default_factory=list)
    after: list[Part] = field(default_factory=list)


def small(model_type: str) -> Any:
    """The base model of an architecture, as small as it gets."""
    kind = architecture(model_type).heads["Model"]
    config = kind.CONFIG()
    known = {f.name for f in fields(config)}
    changed = {name: value for name, value in SMALL.items() if name in known}
    if model_type == "transfo-xl":
        changed["vocab_size"] = 300
    for size in ("embedding_size", "head_size", "num_kv_heads"):
        if getattr(config, size, None) is None:
            changed.pop(size, None)
    torch.manual_seed(0)
    return kind(config.replace(**changed)).eval()


def columns(model_type: str) -> list[Column]:
    """What to draw of an architecture."""
    model = small(model_type)
    inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
    if hasattr(model, "decoder") and hasattr(model, "encoder"):
        inputs["decoder_input_ids"] = torch.tensor([[5, 6]])
    with torch.no_grad():
        recording = record(model, inputs, lambda name, x: None)
    table = operations(model, recording)
    found: dict[str, Column] = {}
    for operation in table:
        if "#" in operation.name:
            continue
        stack = operation.name.split(".")[0]
        if stack not in ("encoder", "decoder"):
            continue
        column = found.setdefault(stack, Column(stack))
        part = _part(operation, {one.name: one for one in table})
        if part is None:
            continue
        inside = ".blocks." in operation.name or ".groups." in operation.name
        (column.parts if inside else column.after).append(part)
    for name, column in found.items():
        column.parts.insert(0, Part("embeddings", "embeddings", _embeddings(table, name, len(found) == 2)))
    return list(found.values())


def _part(operation: Operation, by_name: dict[str, Operation]) -> Part | None:
    kind, name = operation.kind, operation.name
    if kind.startswith("norm."):
        if ".q_norm" in name or ".k_norm" in name:
            return None
        return Part("norm", "layer norm" if kind == "norm.layer" else "RMS norm")
    if kind.startswith("attention.scores"):
        cross = "cross_attn" in name
        notes = ["to the encoder's output" if cross else "to the past" if "mask" in operation.inputs else "to all"]
        if "relative" in kind or "bias" in operation.inputs:
            notes.append("by distance")
        parent = name.rpartition(".")[0]
        if any(one.startswith(f"{parent}.rotary") for one in by_name):
            notes.append("rotary")
        return Part(
            "cross" if cross else "attention", "cross-attention" if cross else "self-attention", ", ".join(notes)
        )
    if kind == "activation" and ".ffn." in name:
        gated = " with a gate" if "gated" in operation.inputs else ""
        return Part("ffn", "feed-forward", f"{operation.constants['activation']}{gated}")
    if kind == "residual":
        return Part("residual", "+", since=operation.inputs["x"])
    return None


def _embeddings(table: list[Operation], stack: str, two: bool) -> str:
    mine = [
        one for one in table
        if "embeddings" in one.name and (not two or one.name.startswith((f"{stack}_embeddings", f"{stack}.embeddings")))
    ]  # fmt: skip
    leaves = {one.name.rpartition(".")[2]: one for one in mine}
    said = ["words"]
    said += ["types"] if "token_types" in leaves else []
    said += ["places"] if "positions" in leaves else []
    norm = ", normed" if any(one.kind.startswith("norm.") for one in mine) else ""
    return " + ".join(said) + norm


def drawn(model_type: str) -> str:
    """An architecture as SVG, in the colour of the text around it."""
    stacks = columns(model_type)
    tall = max(len(one.parts) + len(one.after) for one in stacks)
    height, width = MARGIN * 2 + 20 + STEP * tall, MARGIN + len(stacks) * (WIDE + 62)
    lines: list[str] = []
    tops: list[tuple[float, float]] = []
    for i, stack in enumerate(stacks):
        x, y = MARGIN + i * (WIDE + 62) + 10, height - MARGIN - 8
        middle, begin = x + WIDE / 2, 0.0
        at = {}
        previous = y + 14
        for j, part in enumerate([*stack.parts, *stack.after]):
            inner = j < len(stack.parts)
            centre = y - STEP * j - BOX / 2
            lines.append(
                f'<path d="M{middle} {previous}V{centre + (9 if part.kind == "residual" else BOX / 2)}" class="l"/>'
            )
            if part.kind == "residual":
                source = at.get(part.since.rpartition(".")[2], begin)
                lines.append(f'<path d="M{middle} {source}H{x - 14}V{centre}H{middle - 9}" class="l"/>')
                lines.append(f'<circle cx="{middle}" cy="{centre}" r="9" class="l"/>')
                lines.append(f'<path d="M{middle - 5} {centre}h10M{middle} {centre - 5}v10" class="l"/>')
                previous = centre - 9
            else:
                colour = COLOURS[part.kind]
                lines.append(
                    f'<rect x="{x}" y="{centre - BOX / 2}" width="{WIDE}" height="{BOX}" rx="5" fill="{colour}" '
                    f'fill-opacity="0.22" stroke="{colour}"/>'
                )
                where = centre - 3 if part.below else centre + 4
                lines.append(f'<text x="{middle}" y="{where}" text-anchor="middle" font-size="12">{part.title}</text>')
                if part.below:
                    lines.append(
                        f'<text x="{middle}" y="{centre + 10}" text-anchor="middle" font-size="9.5">{part.below}</text>'
                    )
                if part.kind == "cross" and tops:
                    lines.append(
                        f'<path d="M{tops[0][0]} {tops[0][1]}H{x - 30}V{centre}H{x - 4}m-6 -4l6 4l-6 4" class="l" '
                        'stroke-dasharray="4 3"/>'
                    )
                previous = centre - BOX / 2
            if j == 0:
                begin = previous - 7
            for key in _keys(stack.parts, j):
                at[key] = previous - 7
            if inner and j == len(stack.parts) - 1:
                top, bottom = centre - STEP / 2 + 2, y - STEP + 8
                lines.append(
                    f'<rect x="{x - 22}" y="{top}" width="{WIDE + 30}" height="{bottom - top}" rx="8" class="b"/>'
                )
        lines.append(f'<path d="M{middle} {previous}V{previous - 16}m-4 6l4 -6l4 6" class="l"/>')
        tops.append((middle, previous - 10))
        lines.append(f'<text x="{middle}" y="{height - 8}" text-anchor="middle" font-size="11">{stack.title}</text>')
    name = NAMES.get(model_type, model_type.capitalize())
    style = ".l,.b{fill:none;stroke:currentColor}.l{stroke-width:1.2}.b{stroke-dasharray:2 3;opacity:.6}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{0.72 * width:.0f}" height="{0.72 * height:.0f}" '
        f'role="img" aria-label="{name}: one block" font-family="sans-serif" fill="currentColor">'
        f"<title>{name}</title><style>{style}</style>{''.join(lines)}</svg>"
    )


def _keys(parts: list[Part], j: int) -> tuple[str, ...]:
    """By which names a residual may say that it goes around what comes next: the stream at this place."""
    if j == 0:
        return ("input",)
    if j >= len(parts):
        return ()
    sublayer = next((p.kind for p in reversed(parts[: j + 1]) if p.kind in ("attention", "cross", "ffn")), "")
    tap = {"attention": "attn", "cross": "cross_attn", "ffn": "ffn"}.get(sublayer, "")
    if parts[j].kind == "residual":
        return (f"after_{tap}",)
    if parts[j].kind == "norm" and parts[j - 1].kind == "residual":
        return (f"{tap}_normed",)
    return ()


def page() -> str:
    """All drawings, those that are often compared first."""
    ordered = [*FIRST, *sorted(set(ARCHITECTURES) - {*FIRST, "fsmt"})]
    drawings = "\n".join(
        f'<figure class="architecture">{drawn(one)}<figcaption>{NAMES.get(one, one.capitalize())}</figcaption></figure>'
        for one in ordered
        if one in ARCHITECTURES
    )
    return (
        "---\nhide: [toc]\n---\n\n# The architectures, drawn\n\n"
        "One block of each, bottom to top; what is framed is repeated. The drawings are made "
        "from the code: a small model is run, and its [table of operations](parity-testing.md) is drawn, so that they "
        "cannot differ from it. The same in words: [architectures](architectures.md).\n\nYellow: norms. Blue: "
        "self-attention. Purple: cross-attention. Green: feed-forward. A circle adds what goes around to what comes "
        f'through.\n\n<div class="architectures" markdown="0">\n{drawings}\n</div>\n'
    )


if __name__ == "__main__":
    print(page())
