"""What ``minitransformer inspect`` prints: config, modules with parameter counts, and the weight map row by row.

The model is built without memory (on PyTorch's meta device), and of the weight files only the headers are read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape as without_markup
from rich.table import Table
from rich.tree import Tree
from torch import Tensor, nn

from minitransformer.config import ModelConfig, ignored_keys, required_values
from minitransformer.hub import Repository
from minitransformer.layers import MultiHeadAttention, Tap
from minitransformer.models.auto import AutoConfig, architecture
from minitransformer.models.common.base import PretrainedModel
from minitransformer.options import harmless
from minitransformer.weights import LoadReport, Op, Then, explain, load_weights, open_checkpoint, without_memory
from minitransformer.weights.engine import Line
from minitransformer.weights.sources import Source


def print_checkpoint(id_or_folder: str | Path, *, revision: str | None = None, full: bool = False) -> None:
    """Print what a checkpoint holds and how it maps to our model.

    Args:
        id_or_folder: a folder or a model id on the Hub.
        revision: branch, tag or commit on the Hub.
        full: print every layer, instead of one for all equal ones.

    Raises:
        ConfigError: an unknown architecture or an unsupported variant.
        CheckpointError: files are missing or damaged.
    """
    repository = Repository(id_or_folder, revision)
    config = AutoConfig.from_pretrained(repository)
    source = open_checkpoint(repository)
    with without_memory():
        model = model_class(config)(config)
    console = Console()
    if not console.is_terminal:  # a file or a pipe has room for whole names
        console = Console(width=240)
    console.print(config_table(config), "", module_tree(model, full=full), "")
    if told := cache_size(model):
        console.print(told, "")
    report = load_weights(model, HeadersOnly(source), model.WEIGHTS, device="meta", allow_missing=["*"])
    console.print(map_table(explain(model, model.WEIGHTS), report, full=full))
    for title, reasons in (("Not used", report.ignored), ("Not in the file", dict.fromkeys(report.missing, ""))):
        if reasons:
            console.print("", remarks(title, reasons, full=full))


def cache_size(model: nn.Module) -> str:
    """How much a token of a text takes in the cache, of a model that decodes; nothing for another."""
    decoder = getattr(getattr(model, "backbone", model), "decoder", None)
    kept = [
        block.attn.key.out_features + block.attn.value.out_features
        for block in getattr(decoder, "blocks", ())
        if isinstance(getattr(block, "attn", None), MultiHeadAttention)
    ]
    if not kept:
        return ""
    per_token, first = sum(kept), decoder.blocks[0].attn  # type: ignore[union-attr]
    shared = f", a {first.num_heads // first.num_kv_heads}th of what as many as heads would take"
    return (
        f"Cache: {4 * per_token:,} bytes per token in float32, {2 * per_token:,} in bfloat16 ({len(kept)} blocks x "
        f"{first.num_kv_heads} heads of keys and values x {first.head_size} numbers x 2"
        + (shared if first.num_kv_heads != first.num_heads else "")
        + ")"
    )


class HeadersOnly:
    """A checkpoint that is never read: its tensors have the right names and shapes, and no memory."""

    def __init__(self, source: Source) -> None:
        self.where, self._source = source.where, source

    def names(self) -> list[str]:
        """Names of all tensors."""
        return self._source.names()

    def shape(self, name: str) -> Sequence[int]:
        """Shape of a tensor."""
        return self._source.shape(name)

    def read(self, name: str, *, transient: bool = False) -> Tensor:
        """One number that poses as a whole tensor."""
        return torch.zeros(()).expand(tuple(self.shape(name)))


def model_class(config: ModelConfig) -> type[PretrainedModel]:
    """The class that config.json names, or the model without a head."""
    heads = architecture(config.model_type).heads
    named = (model for model in heads.values() if model.__name__ in config.architectures)
    return next(named, heads["Model"])


def config_table(config: ModelConfig) -> Table:
    """Every field, under our name and under its key in config.json."""
    table = Table(title=f"{type(config).__name__}, model_type {escape(repr(config.model_type))}", title_justify="left")
    for column in ("field", "value", "key in config.json"):
        table.add_column(column)
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if f.name not in ("extra", "generation"):
            key = f.metadata.get("key", f.name)
            table.add_row(f.name, escape(_short(value)), "" if key == f.name else escape(str(key)))
    for key, value in config.generation.items():
        table.add_row("", escape(_short(value)), escape(f"{key} (for generate)"))
    for key, value in config.extra.items():
        why = ignored_keys(type(config)).get(
            key, "the one value that there is" if key in required_values(type(config)) else "unknown"
        )
        table.add_row("", escape(_short(value)), escape(f"{key} (not used: {why})"))
    return table


def module_tree(model: PretrainedModel, *, full: bool = False) -> Tree:
    """The modules that have parameters, each with how many; shared ones count once."""
    tree = Tree(f"[bold]{type(model).__name__}[/bold]  {model.num_parameters():,} parameters")
    _add_children(tree, model, full)
    return tree


def _add_children(tree: Tree, module: nn.Module, full: bool) -> None:
    children = [(name, child) for name, child in module.named_children() if _count(child)]
    same = len({_structure(child) for _, child in children}) == 1 and all(name.isdigit() for name, _ in children)
    if same and len(children) > 1 and not full:
        name, first = children[0]
        label = f"{name}-{children[-1][0]}: {len(children)} x {type(first).__name__}  each {_count(first):,}"
        _add_children(tree.add(label), first, full)
        return
    for name, child in children:
        details = f" ({child.extra_repr()})" if child.extra_repr() else ""
        label = f"[bold]{name}[/bold] {type(child).__name__}{escape(details)}  {_count(child):,}"
        _add_children(tree.add(label), child, full)


def _structure(module: nn.Module) -> tuple[tuple[str, torch.Size], ...]:
    return tuple((name, parameter.shape) for name, parameter in module.named_parameters())


def _count(module: nn.Module) -> int:
    return 0 if isinstance(module, Tap) else sum(p.numel() for p in module.parameters())


def map_table(lines: Sequence[Line], report: LoadReport, *, full: bool = False) -> Table:
    """The weight map: what each tensor of the file is called there and here, and how it gets across."""
    title = f"Weight map: {len(report.used)} tensors of the file used, {len(report.ignored)} not"
    table = Table(title=title, title_justify="left")
    for column in ("in the file", "here", "operation", "shape in the file", ""):
        table.add_column(column, overflow="fold")
    rows: dict[tuple[str, ...], int] = {}
    for line in lines:
        shape = " x ".join(str(n) for n in line.shape)
        names = [line.hf, "\n".join(line.ours), line.note]
        hf, ours, note = names if full else map(_pattern, names)
        cells = (hf, ours, _operation(line.op), shape, note)
        rows[cells] = rows.get(cells, 0) + 1
    for row, times in rows.items():
        *others, note = (escape(cell) for cell in row)
        table.add_row(*others, f"{times} layers {note}" if times > 1 else note)
    return table


def remarks(title: str, reasons: dict[str, str], *, full: bool = False) -> Table:
    """Names with a reason each."""
    table = Table(title=title, title_justify="left", show_header=False)
    rows = reasons if full else {_pattern(name): why for name, why in reasons.items()}
    for name, why in rows.items():
        table.add_row(escape(name), escape(why))
    return table


def _operation(op: Op) -> str:
    """``Transpose, Split(parts=3)``: the operations, in the order of loading."""
    if isinstance(op, Then):
        return f"{_operation(op.first)}, {_operation(op.second)}"
    fields = ((f.name, getattr(op, f.name), f.default) for f in dataclasses.fields(op) if f.repr)  # type: ignore[arg-type]
    said = ", ".join(f"{name}={value}" for name, value, default in fields if value != default)
    return type(op).__name__ + (f"({said})" if said else "")


def escape(text: str) -> str:
    """A text of a file as it is printed: nothing in it styles the output, or steers the terminal."""
    return without_markup(harmless(text))


def _pattern(name: str) -> str:
    """``h.11.attn`` -> ``h.{i}.attn``."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "{i}", name)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
